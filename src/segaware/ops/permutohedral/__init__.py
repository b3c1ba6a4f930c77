"""The Gaussian filter of fully connected CRFs and its mean field: op.py is the contract, reference.py the equations."""
