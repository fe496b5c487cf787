"""Properties that hold for whatever names, labels and groups there are."""

import unicodedata
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.clips.discovery import clip_record
from tasks.clips.output_names import ANNOTATION_POSTFIX, OVERLAY_POSTFIX, output_stems
from tasks.clips.splits import make_splits
from tasks.core.text import name_key
from tasks.mapping.pairs import OutputKey, OutputKind, output_of, remove_postfix

# What a file name can be: no slash, no NUL; few letters, so that names collide.
CHARACTERS = st.sampled_from("aAbß.가각\u1100\u1161e\u0301é ~_|\\\n")
NAMES = st.builds(
    lambda stem, ending: f"x{stem}{ending}", st.text(CHARACTERS, max_size=5), st.sampled_from([".mp4", ".avi", ".MP4"])
)


@given(st.lists(NAMES, unique=True, max_size=12))
def test_no_two_clips_of_a_folder_share_a_stem(names):
    """Not even without case or in another Unicode form; and the rule does not depend on the order."""
    stems = output_stems(names)
    assert stems.keys() == set(names)
    assert len({name_key(stem) for stem in stems.values()}) == len(names)
    assert output_stems(reversed(names)) == stems
    for name, stem in stems.items():
        if [name_key(Path(other).stem) for other in names].count(name_key(Path(name).stem)) == 1:
            assert stem == Path(name).stem


@given(st.lists(NAMES, unique=True, max_size=6))
def test_outputs_are_recognised_as_those_of_their_clip(names):
    """The mapping gets from an output's path to the clip's identifier, whatever the name."""
    for name, stem in output_stems(names).items():
        clip = clip_record(Path("/in/set"), f"Fight/{name}", stem, Path("/out"))
        key = OutputKey(unicodedata.normalize("NFC", clip.frame_dir))
        for path, kind in ((clip.annotation_path, OutputKind.ANNOTATION), (clip.overlay_path, OutputKind.OVERLAY)):
            assert output_of(path.relative_to("/out").as_posix()) == (key, kind)


@given(st.text(max_size=40), st.sampled_from([ANNOTATION_POSTFIX, OVERLAY_POSTFIX]))
def test_a_postfix_put_on_comes_off_again(stem, postfix):
    """Regression: design.md 2, defect 10."""
    assert remove_postfix(stem + postfix, postfix) == stem
    assert remove_postfix(stem + postfix + "x", postfix) == stem + postfix + "x"


@settings(max_examples=50)
@given(
    st.dictionaries(st.text(max_size=6), st.integers(0, 3), max_size=60),
    st.integers(1, 8),
    st.integers(0, 5),
)
def test_splits_are_disjoint_and_complete(labels, group_count, seed):
    """For any labels, groups and seed; groups stay together."""
    splits = make_splits(labels, lambda name: str(len(name) % group_count), seed)
    members = [name for names in splits.values() for name in names]
    assert sorted(members) == sorted(labels)
    homes = {(len(name) % group_count, split) for split, names in splits.items() for name in names}
    assert len(homes) == len({group for group, _ in homes})
