"""The people that datumaro finds in a data set: run by the interpreter of the client's environment.

    python datumaro_points.py FOLDER FORMAT ANSWER.json

The answer is a list of people: `{"item": ..., "attributes": {...}, "points": [[x, y], ...], "seen": [true, ...]}`.
"""

import json
import sys
from pathlib import Path

import datumaro


def people(folder: str, kind: str) -> list[dict[str, object]]:
    """Return every group of points, alone or as the elements of a skeleton."""
    found = []
    for item in datumaro.Dataset.import_from(folder, kind):
        for one in item.annotations:
            if one.type != datumaro.AnnotationType.points:
                continue
            places = list(zip(one.points[::2], one.points[1::2], strict=True))
            found.append(
                {
                    "item": item.id,
                    "attributes": {name: str(value) for name, value in one.attributes.items()},
                    "points": [[float(x), float(y)] for x, y in places],
                    # 0 is "absent" in datumaro as in COCO.
                    "seen": [int(state) > 0 for state in one.visibility],
                }
            )
    return found


if __name__ == "__main__":
    folder, kind, answer = sys.argv[1:]
    Path(answer).write_text(json.dumps(people(folder, kind)), encoding="utf-8")
