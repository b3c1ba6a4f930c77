"""What the operators and networks cost, beside plain convolution and beside other implementations of the same thing."""
