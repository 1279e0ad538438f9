"""The parts of a training run that are switched on by settings, one file each.

freezing.py      which stages stay as they are in which epoch
step.py          one update of the weights from one batch
batches.py       the training images in their order, mixed, balanced
ema.py           the moving average of the weights
non_finite.py    where a NaN or an infinity came from
memory.py        how much memory a run takes
lr_finder.py     which learning rate to begin with
"""
