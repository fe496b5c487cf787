"""The review page's server: who is let in, what is sent, and what a correction does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from flows.review.app import STATIC, address, create_app
from flows.review.service import ReviewService
from tasks.annotations.format import read_annotation
from tasks.clips.failures import log_failure
from tasks.core.errors import FailureReason, FightposeError
from tasks.review.index import clip_id
from tasks.review.log import LOG_NAME, read_review
from tests.review_outputs import Outputs, make_many, make_outputs
from tests.video_factory import plain_frames, write_video

TOKEN = "a-secret"  # noqa: S105 - of the tests
HOST = "127.0.0.1:8123"
COOKIE = {"fightpose_review_8123": TOKEN}
NAMES = ["a'b\"c.mp4", "<script>alert(1)</script>.mp4", "싸움 영상.avi", "..%2f..%2fetc.mp4"]


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """Give an output root of four clips with hostile names and overlays."""
    return make_outputs(tmp_path, 4, NAMES, overlays=True)


@pytest.fixture
def client(outputs: Outputs) -> Iterator[TestClient]:
    """Give a client that is let in, of a server whose index is read."""
    service = ReviewService(outputs.root, "tester")
    service.start()
    with TestClient(create_app(service, TOKEN, HOST), base_url=f"http://{HOST}", cookies=COOKIE) as client:
        while client.get("/api/clips").json()["unread"]:
            pass
        yield client
    service.stop()


def stranger(outputs: Outputs, **arguments) -> TestClient:
    """Return a client without a cookie."""
    app = create_app(ReviewService(outputs.root, "tester"), TOKEN, HOST)
    return TestClient(app, **{"base_url": f"http://{HOST}", "follow_redirects": False} | arguments)


def key_of(outputs: Outputs, number: int) -> str:
    """Return the name of a clip in addresses."""
    return clip_id(outputs.clips[number].frame_dir)


def test_no_request_without_the_token_is_answered(outputs):
    """Whatever is asked for, whether it exists or not, and with a wrong token as without one."""
    key = key_of(outputs, 0)
    paths = ["/", "/?token=wrong", "/static/main.js", "/api/clips", f"/videos/{key}", f"/thumbnails/{key}", "/none"]
    for cookies in ({}, {"fightpose_review_8123": "wrong"}, {"other": TOKEN}):
        answers = [stranger(outputs, cookies=cookies).get(path) for path in paths]
        assert {answer.status_code for answer in answers} == {403}
        assert {answer.text for answer in answers} == {"Open the address that 'fightpose review' printed."}
    assert stranger(outputs).get("/api/clips?token=" + TOKEN).status_code == 403
    # Not ASCII: a comparison of texts would fail there instead of saying no.
    odd = stranger(outputs).get("/", headers=[(b"cookie", b"fightpose_review_8123=\xed")])
    assert odd.status_code == 403


def test_the_printed_address_lets_in_and_leaves_no_token_behind(outputs):
    """The token becomes a cookie that scripts cannot read and other pages do not send."""
    answer = stranger(outputs).get(address(HOST, TOKEN))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.mark.parametrize("host", ["evil.example:8123", "127.0.0.1.evil.example", "localhost:8123", "evil.example", ""])
def test_a_foreign_host_name_is_refused(client, host):
    """A name that was made to resolve to this machine is not this page."""
    assert client.get("/api/clips", headers={"host": host}).status_code == 400


def test_other_pages_cannot_correct(client, outputs):
    """Neither as a form nor as JSON that names its origin."""
    path = f"/api/clips/{key_of(outputs, 0)}/corrections"
    body = {"changes": [{"kind": "label", "label": 0}]}
    assert client.post(path, json=body, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post(path, content=json.dumps(body), headers={"content-type": "text/plain"}).status_code == 403
    assert client.post(path, data={"changes": "x"}).status_code == 403
    assert not (outputs.root / LOG_NAME).exists()


def test_every_answer_carries_the_policy(client, outputs):
    """Refusals too: nothing from anywhere else may run, frame or be sent to."""
    for answer in (client.get("/"), client.get("/none"), stranger(outputs).get("/")):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_path_leads_out(client, outputs, tmp_path):
    """Neither in an address nor by a link in the place of an overlay."""
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    for path in ("/static/../review_server.py", "/static/%2e%2e/review_server.py", "/videos/..%2f..%2fsecret.mp4",
                 "/thumbnails/%2e%2e", "/static//etc/passwd"):  # fmt: skip
        assert client.get(path).status_code == 404
    overlay = outputs.clips[0].overlay_path
    overlay.unlink()
    overlay.symlink_to(tmp_path / "secret.mp4")
    answer = client.get(f"/videos/{key_of(outputs, 0)}")
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_parts_of_a_video_are_sent(client, outputs):
    """Players ask for ranges when they seek."""
    path, whole = f"/videos/{key_of(outputs, 0)}", outputs.clips[0].overlay_path.read_bytes()
    answer = client.get(path, headers={"range": "bytes=10-19"})
    assert (answer.status_code, answer.content) == (206, whole[10:20])
    assert answer.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert client.get(path).content == whole
    assert client.get(path, headers={"range": "bytes=99999999-"}).status_code == 416


def test_an_avi_overlay_is_played_as_mp4(client, outputs):
    """The preview is made once, below the work folder, and again when the overlay changes."""
    clip, path = outputs.clips[2], f"/videos/{key_of(outputs, 2)}"
    assert clip.overlay_path.suffix == ".avi"
    preview = client.get(path).content
    assert preview[4:8] == b"ftyp"
    made = next((outputs.root / ".fightpose" / "review" / "previews").rglob("*.mp4"))
    before = made.stat().st_mtime_ns
    client.get(path)
    assert made.stat().st_mtime_ns == before
    write_video(clip.overlay_path, plain_frames(10, 128, 96))
    client.get(path)
    assert made.stat().st_mtime_ns > before


def test_thumbnails_are_made_once(client, outputs):
    """A clip without overlay has none."""
    path = f"/thumbnails/{key_of(outputs, 1)}"
    assert client.get(path).content[:2] == b"\xff\xd8"
    outputs.clips[3].overlay_path.unlink()
    assert client.get(f"/thumbnails/{key_of(outputs, 3)}").status_code == 404


def test_the_gallery_asks_for_the_picture_of_a_new_overlay_at_once(client, outputs):
    """Browsers keep pictures for a while; the overlay's version is part of the address."""

    def versions() -> list[str]:
        """Return the version of each clip's overlay."""
        shown = {clip["id"]: clip["video"] for clip in client.get("/api/clips").json()["clips"]}
        return [shown[key_of(outputs, number)] for number in range(4)]

    before = versions()
    outputs.clips[3].overlay_path.unlink()
    write_video(outputs.clips[1].overlay_path, plain_frames(10, 128, 96))
    after = versions()
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True, False]
    assert after[3] == ""
    assert "?v=${clip.video}" in (STATIC / "gallery.js").read_text(encoding="utf-8")


def test_the_gallery_is_filtered_and_sorted(client, outputs):
    """By name, label, state and flags; what does not exist finds nothing."""
    log_failure(outputs.root, "x", outputs.clips[3].frame_dir, FailureReason.NO_TRACKS, "nobody <b>there</b>")
    outputs.clips[3].annotation_path.unlink()

    def names(**query: str) -> list[str]:
        """Return the names that a query finds."""
        service = ReviewService(outputs.root, "tester")
        with TestClient(create_app(service, TOKEN, HOST), base_url=f"http://{HOST}", cookies=COOKIE) as fresh:
            return [clip["name"].rpartition("/")[2] for clip in fresh.get("/api/clips", params=query).json()["clips"]]

    # The slash in it made a folder of its first half.
    assert names(text="SCRIPT") == ["script>"]
    assert names(text="싸움") == ["싸움 영상"]
    assert len(names(label="fight")) == len(names(label="1")) == 2
    assert names(label="7") == names(label="no such class") == []
    assert names(state="failed") == names(reason="NO_TRACKS") == ["..%2f..%2fetc"]
    assert len(names(state="annotated")) == 3
    assert names(state="no such state") == names(split="nowhere") == []
    assert len(names(sort="no such order", page="-3")) == 4


def test_corrections_are_seen_taken_back_and_applied(client, outputs):
    """The whole loop: the annotation changes only when it is said so."""
    key, before = key_of(outputs, 1), outputs.clips[1].annotation_path.read_bytes()
    path = f"/api/clips/{key}"
    assert [person["id"] for person in client.get(path).json()["people"]] == [3, 2, 1]
    order = {"changes": [{"kind": "order", "track_ids": [1, 2, 3]}]}
    clip = client.post(f"{path}/corrections", json=order).json()
    assert [person["id"] for person in clip["people"]] == [1, 2, 3]
    assert (clip["waiting"], clip["history"][0]["who"]) == (True, "tester")
    assert [person["id"] for person in client.post(f"{path}/undo", json={}).json()["people"]] == [3, 2, 1]
    assert [person["id"] for person in client.post(f"{path}/redo", json={}).json()["people"]] == [1, 2, 3]
    assert outputs.clips[1].annotation_path.read_bytes() == before
    assert client.get("/api/clips").json()["counts"]["state"]["waiting"] == 1
    assert client.post("/api/apply", json={}).json()["problems"] == 0
    annotation = read_annotation(outputs.clips[1].annotation_path)["annotations"][0]
    assert annotation["track_ids"].tolist() == [1, 2, 3]
    assert client.get("/api/clips").json()["counts"]["state"]["waiting"] == 0
    assert not client.get(path).json()["waiting"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"changes": [{"kind": "drop", "track_id": 99}]}, 409),
        ({"changes": [{"kind": "label", "label": 7}]}, 409),
        ({"changes": [{"kind": "label", "label": -1}]}, 422),
        ({"changes": [{"kind": "swap", "track_id": 1, "other": 1, "frame": 5}]}, 422),
        ({"changes": [{"kind": "swap", "track_id": 1, "other": 99, "frame": 5}]}, 409),
        ({"changes": []}, 422),
        ({"changes": [{"kind": "drop", "track_id": 1, "path": "/etc"}]}, 422),
        ({"changes": [{"kind": "note", "text": "x" * 70_000}]}, 409),
        ([1], 422),
    ],
)
def test_a_correction_that_makes_no_sense_is_not_written(client, outputs, body, status):
    """The answer is one line."""
    answer = client.post(f"/api/clips/{key_of(outputs, 0)}/corrections", json=body)
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]
    assert read_review(outputs.root) == []


def test_a_damaged_annotation_and_a_failed_clip_can_be_opened(client, outputs):
    """They can be judged as a whole; nothing else in the gallery suffers."""
    outputs.clips[0].annotation_path.write_bytes(b"no pickle")
    clip = client.get(f"/api/clips/{key_of(outputs, 0)}").json()
    assert clip["people"] == []
    assert clip["info"]
    path = f"/api/clips/{key_of(outputs, 0)}"
    body = {"changes": [{"kind": "exclude", "excluded": True}, {"kind": "note", "text": "<b>broken</b>"}]}
    assert client.post(f"{path}/corrections", json=body).json()["excluded"]
    assert client.get("/api/clips/0123456789abcdef").status_code == 404


def test_a_folder_without_outputs_is_one_line(tmp_path):
    """Named wrongly, or not annotated yet."""
    with pytest.raises(FightposeError, match="no output folder"):
        ReviewService(tmp_path / "nowhere", "tester")
    with pytest.raises(FightposeError, match="nothing to review"):
        ReviewService(tmp_path, "tester")


def test_the_index_is_read_in_the_background_and_kept(outputs):
    """A second opening reads no annotation."""
    service = ReviewService(outputs.root, "tester")
    assert service.find({})["unread"] == 4
    service.start()
    while service.find({})["unread"]:
        pass
    service.stop()
    assert ReviewService(outputs.root, "tester").find({})["unread"] == 0
    outputs.annotate(0, frames=24)
    assert ReviewService(outputs.root, "tester").find({"state": "unread"})["found"] == 1


def test_ten_thousand_clips_are_there_without_reading_one(tmp_path):
    """Opened, searched and paged, hostile names among them."""
    service = ReviewService(make_many(tmp_path, 10_000, ["<img src=x>", "싸움"]), "tester")
    found = service.find({"sort": "lead", "page": "3"})
    assert (found["found"], found["pages"], found["unread"], len(found["clips"])) == (10_002, 167, 0, 60)
    assert service.find({"text": "img"})["clips"][0]["name"] == "set/Fight/<img src=x>"
