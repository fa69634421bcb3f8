"""Fine-tuning: examples in batches, the loss on their answers, and the state that training moves.

`pipelines/finetune.py` is the loop that uses these parts; none of them knows Beam.
"""
