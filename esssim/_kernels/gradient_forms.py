"""g_BᵀH_Bg_B and ‖g_B‖² of least-squares models whose ∂β/∂θ couples no two inputs, without any p-vector.

With s = X_Bᵀr_B/b, M_k = ‖∂β_k/∂θ‖ and t = M∘s: ‖g_B‖² = Σ t_k² and g_BᵀH_Bg_B = (1/b) Σ_a (x_aᵀ(M∘t))² + Σ s_k c_k
t_k², c_k the curvature of β_k along its own gradient.
"""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled, inlined


@compiled
def gradient_forms(inputs, residuals, norms, bends, batches, scale, quadratic, squared_norm):
    """Fill both, for g_B divided by `scale`, or by the largest t_k of its own batch where scale is 0."""
    d = inputs.shape[1]
    s, t, direction = np.empty(d), np.empty(d), np.empty(d)
    for m in range(batches.shape[0]):
        batch = batches[m]
        mean_of_rows(inputs, residuals, batch, s)
        divisor = scale
        if scale == 0.0:
            for k in range(d):
                divisor = max(divisor, abs(s[k] * norms[k]))
            if divisor == 0.0:
                quadratic[m], squared_norm[m] = 0.0, 0.0
                continue
        total, bent = 0.0, 0.0
        for k in range(d):
            t[k] = s[k] * norms[k] / divisor
            direction[k] = t[k] * norms[k]
            total += t[k] * t[k]
            bent += s[k] * bends[k] * t[k] * t[k]
        squared_norm[m] = total
        quadratic[m] = mean_square_projection(inputs, batch, direction) + bent


@inlined
def mean_of_rows(inputs, weights, batch, out):
    """(1/b) Σ_a weights_a x_a, four rows at a time."""
    b, d = batch.shape[0], out.shape[0]
    for k in range(d):
        out[k] = 0.0
    a = 0
    while a + 4 <= b:
        x0, x1, x2, x3 = inputs[batch[a]], inputs[batch[a + 1]], inputs[batch[a + 2]], inputs[batch[a + 3]]
        w0, w1 = weights[batch[a]] / b, weights[batch[a + 1]] / b
        w2, w3 = weights[batch[a + 2]] / b, weights[batch[a + 3]] / b
        for k in range(d):
            out[k] += (w0 * x0[k] + w1 * x1[k]) + (w2 * x2[k] + w3 * x3[k])
        a += 4
    while a < b:
        row, weight = inputs[batch[a]], weights[batch[a]] / b
        for k in range(d):
            out[k] += weight * row[k]
        a += 1


@inlined
def mean_square_projection(inputs, batch, direction):
    """(1/b) Σ_a (x_aᵀ direction)²."""
    b, d = batch.shape[0], direction.shape[0]
    total = 0.0
    a = 0
    while a + 4 <= b:
        x0, x1, x2, x3 = inputs[batch[a]], inputs[batch[a + 1]], inputs[batch[a + 2]], inputs[batch[a + 3]]
        p0, p1, p2, p3 = 0.0, 0.0, 0.0, 0.0
        for k in range(d):
            p0 += x0[k] * direction[k]
            p1 += x1[k] * direction[k]
            p2 += x2[k] * direction[k]
            p3 += x3[k] * direction[k]
        total += (p0 * p0 + p1 * p1) + (p2 * p2 + p3 * p3)
        a += 4
    while a < b:
        row, projection = inputs[batch[a]], 0.0
        for k in range(d):
            projection += row[k] * direction[k]
        total += projection * projection
        a += 1
    return total / b
