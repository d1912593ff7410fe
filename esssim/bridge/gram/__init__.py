"""The Gram matrix of all rows of a network's Jacobian, and what follows from it."""
