"""The fast motion of the residuals of SGD in the eigenbasis of K, compiled: z and v are updated in place."""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled


@compiled
def run_chains(members, offsets, basis, eigenvalues, mean_force, batch_size, step_size, momentum, z, velocity):
    """v ← βv + Λ[(1/b) Σ_a U_a (U_aᵀz + offset_a) − mean force], z ← z − ηv, for each step and chain.

    members, offsets: rows of U in the batch and what is added to their residuals, (steps, chains, b·c); basis U (n·c,
    r); mean_force (r,); z and velocity (chains, r).
    """
    n_steps, n_chains, size = members.shape
    r = eigenvalues.shape[0]
    force = np.empty(r)
    for t in range(n_steps):
        for chain in range(n_chains):
            place, speed = z[chain], velocity[chain]
            for k in range(r):
                force[k] = -batch_size * mean_force[k]
            for a in range(size):
                row = basis[members[t, chain, a]]
                residual = offsets[t, chain, a]
                for k in range(r):
                    residual += row[k] * place[k]
                for k in range(r):
                    force[k] += residual * row[k]
            for k in range(r):
                speed[k] = momentum * speed[k] + eigenvalues[k] * force[k] / batch_size
                place[k] -= step_size * speed[k]
