"""Checkpoints from wherever Beam can read."""

from model.checkpoint import Storage
from transforms.storage import glob, open_binary

BEAM_FILES = Storage(open=open_binary, glob=glob)
