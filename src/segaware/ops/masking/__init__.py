"""The kernel of `attention_mask`, whose contract and equation are in ops/mask.py."""
