"""Training configs for STGCN++ on a merged data set, as mmaction2 1.x and pyskl read them.

Each is complete in itself (no `_base_`): mmaction2's and pyskl's published recipe for STGCN++ on 2D keypoints, with
this data set's classes, class weights and splits, and a learning rate for one GPU. Sources: mmaction2's
`configs/skeleton/stgcnpp`, pyskl's `configs/stgcn++`.

Two streams, joints and their motion, are trained apart and their scores added: what the people do shows in where their
joints are and in how they move (docs/benchmarks.md has the figures).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from tasks.core.errors import FightposeError
from tasks.core.storage import write_text

STREAMS = {"joint": "j", "joint_motion": "jm"}
"""Name of a stream to what mmaction2's and pyskl's GenSkeFeat call it."""

# Clips in one step of the one GPU.
BATCH = 16
LEARNING_RATE = 0.1 * BATCH / 128
"""The published 0.1 is for 8 GPUs of 16 clips each; a smaller batch takes a rate that is smaller by as much."""

SHOWN_EPOCHS = 80
"""How often a clip is shown, as published: 16 epochs of 5 repeats each."""

# How often one epoch shows each clip, as published.
REPEATS = 5


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What the configs say about a data set.

    Attributes
    ----------
    dataset
        The merged file.
    classes
        Name of each class, by number.
    weights
        Weight of each class in the loss: 1 on average over the training clips, more for a rare class.
    splits
        Split names for training, validation and testing.
    notes
        What a person should know, a line each.
    """

    dataset: Path
    classes: list[str]
    weights: list[float]
    splits: tuple[str, str, str]
    notes: list[str]


def plan_training(dataset: Path, data: Mapping[str, Any]) -> TrainingPlan:
    """Work out what the configs of a data set say.

    Parameters
    ----------
    dataset
        The merged file.
    data
        Its content, as `tasks.annotations.format.read_annotation` gives it.

    Raises
    ------
    FightposeError
        If there is nothing to train on: no training split, or clips of one class only.
    """
    labels = {str(one["frame_dir"]): int(one["label"]) for one in data["annotations"]}
    # A split without clips is as good as none.
    split = {name: members for name, members in data["split"].items() if members}
    # The file of a single clip, or of another program, may have one split of another name.
    train = "train" if "train" in split else next(iter(split), None)
    if train is None or len(set(labels.values())) < 2:
        what = "clips of one class only" if labels else "no clips"
        raise FightposeError(f"{dataset}: holds {what}; STGCN++ has to see clips of two classes to learn anything")
    notes = []
    # A data set with two splits (RWF-2000) has one of these; one without any is tested on what it was trained on.
    others = [name for name in ("val", "test") if name in split]
    if not others:
        notes.append(f"there is neither a split val nor test: figures are those of {train}, and mean little")
    val = others[0] if others else train
    test = others[-1] if others else train
    if len(others) == 1:
        notes.append(f"there is no split {'test' if val == 'val' else 'val'}: {val} serves for both")
    # Splits of other programs may list clips that the file does not hold.
    count = Counter(labels[name] for name in split[train] if name in labels)
    # Labels are class numbers, and the head needs an output for each up to the highest, used or not.
    number = max(labels.values()) + 1
    if missing := [label for label in range(number) if not count[label]]:
        notes.append(f"no training clip is of class {', '.join(map(str, missing))}")
    present = [label for label in range(number) if count[label]]
    # Inverse frequency: every class weighs as much in sum, and the mean over the training clips is 1.
    total = sum(count.values())
    weights = [total / (len(present) * count[label]) if count[label] else 0.0 for label in range(number)]
    return TrainingPlan(dataset, class_names(data, number), weights, (train, val, test), notes)


def class_names(data: Mapping[str, Any], number: int) -> list[str]:
    """Return the name of each class by number, from the data set's key `classes`; else `class 2` and so on."""
    # The file has numbers by name, and configs want names by number.
    names = {label: name for name, label in data.get("classes", {}).items()}
    return [names.get(label, f"class {label}") for label in range(number)]


def write_configs(plan: TrainingPlan, folder: Path) -> list[Path]:
    """Write a config for each program and stream, and return their paths."""
    written = []
    for program, template in (("mmaction2", _MMACTION), ("pyskl", _PYSKL)):
        for stream in STREAMS:
            path = folder / f"{program}_{stream}.py"
            write_text(path, template.substitute(_values(plan, stream, folder)))
            written.append(path)
    return written


def _values(plan: TrainingPlan, stream: str, folder: Path) -> dict[str, str]:
    """Return what the templates leave open."""
    train, val, test = plan.splits
    return {
        "stream": stream,
        "feature": STREAMS[stream],
        "other": next(name for name in STREAMS if name != stream),
        # Python literals in ASCII: names of classes and folders may hold anything.
        "ann_file": ascii(str(plan.dataset.resolve())),
        # Without quotes: it is used in comments of the config.
        "folder": ascii(str(folder))[1:-1],
        "classes": ascii(plan.classes),
        "number": str(len(plan.classes)),
        "weights": _numbers(plan.weights),
        "train": ascii(train),
        "val": ascii(val),
        "test": ascii(test),
        "batch": str(BATCH),
        "repeats": str(REPEATS),
        # Each epoch shows a clip `REPEATS` times, so that there are fewer epochs than showings.
        "epochs": str(SHOWN_EPOCHS // REPEATS),
        "rate": f"{LEARNING_RATE:g}",
        # On one line each: a line break in a name would end the comment.
        "notes": "".join(f"# Note: {ascii(note)[1:-1]}.\n" for note in plan.notes),
    }


def _numbers(values: Sequence[float]) -> str:
    """Return numbers as a list literal."""
    # Four digits: counts of clips bear no more.
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"


# Both libraries name network and preparation alike; only how they sample and run differs.
_MODEL = """\

model = dict(
    type='RecognizerGCN',
    backbone=dict(
        type='STGCN', gcn_adaptive='init', gcn_with_res=True, tcn_type='mstcn',
        graph_cfg=dict(layout='coco', mode='spatial')),
    cls_head=dict(
        type='GCNHead', num_classes=$number, in_channels=256,
        # A rare class counts as much as a frequent one.
        loss_cls=dict(type='CrossEntropyLoss', class_weight=$weights)))

# Half of the clips are mirrored: a blow from the left is one from the right.
mirror = [
    dict(
        type='Flip', flip_ratio=0.5,
        left_kp=[1, 3, 5, 7, 9, 11, 13, 15], right_kp=[2, 4, 6, 8, 10, 12, 14, 16])]
# The two people that come first in rank; coordinates from -1 to 1 of the frame.
prepare = [
    dict(type='PreNormalize2D'),
    dict(type='GenSkeFeat', dataset='coco', feats=['$feature']),
]
"""

_MMACTION = Template(
    """\
# STGCN++ for mmaction2 1.x on the stream '$stream', written by `fightpose training`.
# In a checkout of mmaction2:
#   CONFIG=$folder/mmaction2_$stream.py
#   python tools/train.py $$CONFIG --seed 0
#   python tools/test.py $$CONFIG work_dirs/fightpose_$stream/best_acc_top1_epoch_N.pth --dump $stream.pkl
# Join the streams after training mmaction2_$other.py, too:
#   python tools/analysis_tools/report_accuracy.py --preds $stream.pkl $other.pkl --coefficients 1.0 1.0
$notes
default_scope = 'mmaction'
ann_file = $ann_file
classes = $classes
"""
    + _MODEL
    + """\
finish = [
    dict(type='PoseDecode'),
    dict(type='FormatGCNInput', num_person=2),
    dict(type='PackActionInputs'),
]
train_pipeline = mirror + prepare + [dict(type='UniformSampleFrames', clip_len=100)] + finish
val_pipeline = prepare + [
    dict(type='UniformSampleFrames', clip_len=100, num_clips=1, test_mode=True)] + finish
# The mean over ten samplings of a clip.
test_pipeline = prepare + [
    dict(type='UniformSampleFrames', clip_len=100, num_clips=10, test_mode=True)] + finish

train_dataloader = dict(
    batch_size=$batch, num_workers=2, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='RepeatDataset', times=$repeats,
        dataset=dict(type='PoseDataset', ann_file=ann_file, pipeline=train_pipeline, split=$train)))
val_dataloader = dict(
    batch_size=$batch, num_workers=2, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PoseDataset', ann_file=ann_file, pipeline=val_pipeline, split=$val, test_mode=True))
test_dataloader = dict(
    batch_size=1, num_workers=2, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PoseDataset', ann_file=ann_file, pipeline=test_pipeline, split=$test, test_mode=True))
val_evaluator = [dict(type='AccMetric')]
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=$epochs, val_begin=1, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=0, T_max=$epochs, by_epoch=True, convert_to_iter_based=True)]
# 0.1 as published is for 128 clips a step, this for $batch.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=$rate, momentum=0.9, weight_decay=0.0005, nesterov=True))

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, ignore_last=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, save_best='acc/top1', max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'))
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
work_dir = './work_dirs/fightpose_$stream'
"""
)

_PYSKL = Template(
    """\
# STGCN++ for pyskl on the stream '$stream', written by `fightpose training`.
# In a checkout of pyskl, on one GPU:
#   CONFIG=$folder/pyskl_$stream.py
#   bash tools/dist_train.sh $$CONFIG 1 --validate --test-last --test-best
#   bash tools/dist_test.sh $$CONFIG work_dirs/fightpose_$stream/best_top1_acc_epoch_N.pth 1 --out $stream.pkl
# Join the streams after training pyskl_$other.py, too: add the scores in $stream.pkl and $other.pkl, one to one.
$notes
ann_file = $ann_file
classes = $classes
"""
    + _MODEL
    + """\
train_pipeline = mirror + prepare + [
    dict(type='UniformSample', clip_len=100),
    dict(type='PoseDecode'),
    dict(type='FormatGCNInput', num_person=2),
    dict(type='Collect', keys=['keypoint', 'label'], meta_keys=[]),
    dict(type='ToTensor', keys=['keypoint']),
]
val_pipeline = prepare + [
    dict(type='UniformSample', clip_len=100, num_clips=1),
    dict(type='PoseDecode'),
    dict(type='FormatGCNInput', num_person=2),
    dict(type='Collect', keys=['keypoint', 'label'], meta_keys=[]),
    dict(type='ToTensor', keys=['keypoint']),
]
# The mean over ten samplings of a clip.
test_pipeline = prepare + [
    dict(type='UniformSample', clip_len=100, num_clips=10),
    dict(type='PoseDecode'),
    dict(type='FormatGCNInput', num_person=2),
    dict(type='Collect', keys=['keypoint', 'label'], meta_keys=[]),
    dict(type='ToTensor', keys=['keypoint']),
]
data = dict(
    videos_per_gpu=$batch,
    workers_per_gpu=2,
    test_dataloader=dict(videos_per_gpu=1),
    train=dict(
        type='RepeatDataset', times=$repeats,
        dataset=dict(type='PoseDataset', ann_file=ann_file, pipeline=train_pipeline, split=$train)),
    val=dict(type='PoseDataset', ann_file=ann_file, pipeline=val_pipeline, split=$val),
    test=dict(type='PoseDataset', ann_file=ann_file, pipeline=test_pipeline, split=$test))

# 0.1 as published is for 128 clips a step, this for $batch.
optimizer = dict(type='SGD', lr=$rate, momentum=0.9, weight_decay=0.0005, nesterov=True)
optimizer_config = dict(grad_clip=None)
lr_config = dict(policy='CosineAnnealing', min_lr=0, by_epoch=False)
total_epochs = $epochs
checkpoint_config = dict(interval=1)
evaluation = dict(interval=1, metrics=['top_k_accuracy'], topk=(1,))
log_config = dict(interval=20, hooks=[dict(type='TextLoggerHook')])
log_level = 'INFO'
work_dir = './work_dirs/fightpose_$stream'
"""
)
