"""The SGD loop, compiled: θ and v are updated in place, one call per stretch of steps whose batches are drawn."""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled, inlined

# How the effective weights β come from θ.
IDENTITY, PRODUCT, DIFFERENCE = 0, 1, 2
# The widest rows that are faster one by one than four at a time.
NARROW = 40
# A residual or gradient entry beyond this has left every regime of interest, and squares still fit into a double.
DIVERGENCE_LIMIT = 1e100


@inlined
def step_size_at(step, start, stop, geometric, n_steps):
    """η(step) on the way from start at step 0 to stop at step n_steps."""
    if start == stop:
        return start
    fraction = step / n_steps
    return start * (stop / start) ** fraction if geometric else start + (stop - start) * fraction


@inlined
def update(theta, velocity, gradient, eta, momentum, nesterov):
    """One step of SGD (momentum 0), heavy ball or Nesterov."""
    if momentum == 0.0:
        for k in range(theta.shape[0]):
            theta[k] -= eta * gradient[k]
        return
    for k in range(theta.shape[0]):
        velocity[k] = momentum * velocity[k] + gradient[k]
        theta[k] -= eta * (gradient[k] + momentum * velocity[k] if nesterov else velocity[k])


# For Python to call: what is inlined is kept on disk only within the loops, and compiled anew by every process.
take_step = compiled(update.py_func)


@inlined
def effective_weights(theta, link, depth, weights):
    """β of θ = (θ₀) or (θ₀, θ₁), the rows of `theta`."""
    for k in range(weights.shape[0]):
        if link == IDENTITY:
            weights[k] = theta[0, k]
        elif link == PRODUCT:
            weights[k] = theta[0, k] * theta[1, k]
        else:
            weights[k] = theta[0, k] ** depth - theta[1, k] ** depth


@inlined
def pull_back(theta, link, depth, covector, gradient):
    """(∂β/∂θ)ᵀs."""
    for k in range(covector.shape[0]):
        if link == IDENTITY:
            gradient[0, k] = covector[k]
        elif link == PRODUCT:
            gradient[0, k] = covector[k] * theta[1, k]
            gradient[1, k] = covector[k] * theta[0, k]
        else:
            gradient[0, k] = depth * covector[k] * theta[0, k] ** (depth - 1)
            gradient[1, k] = -depth * covector[k] * theta[1, k] ** (depth - 1)


@inlined
def covector_of_narrow_rows(inputs, targets, batches, noise, m, limit, weights, covector):
    b, d = batches.shape[1], covector.shape[0]
    noisy = noise.shape[0] > 0
    bounded = True
    for k in range(d):
        covector[k] = 0.0
    for a in range(b):
        row = inputs[batches[m, a]]
        residual = 0.0
        for k in range(d):
            residual += row[k] * weights[k]
        residual -= targets[batches[m, a]]
        if noisy:
            residual -= noise[m, a]
        bounded &= abs(residual) <= limit
        residual /= b
        for k in range(d):
            covector[k] += residual * row[k]
    return bounded


@inlined
def covector_of(inputs, targets, batches, noise, m, limit, weights, covector):
    """s = (1/b) Σ_a r_a x_a with r_a = x_aᵀβ − y_a − noise_a for batch m; returns whether every |r_a| ≤ limit."""
    if covector.shape[0] <= NARROW:
        return covector_of_narrow_rows(inputs, targets, batches, noise, m, limit, weights, covector)
    b, d = batches.shape[1], covector.shape[0]
    noisy = noise.shape[0] > 0
    bounded = True
    a = 0
    # Four rows at a time: their sums wait for memory together, and β and s are read a quarter as often.
    while a + 4 <= b:
        i0, i1, i2, i3 = batches[m, a], batches[m, a + 1], batches[m, a + 2], batches[m, a + 3]
        x0, x1, x2, x3 = inputs[i0], inputs[i1], inputs[i2], inputs[i3]
        r0, r1, r2, r3 = 0.0, 0.0, 0.0, 0.0
        for k in range(d):
            beta = weights[k]
            r0 += x0[k] * beta
            r1 += x1[k] * beta
            r2 += x2[k] * beta
            r3 += x3[k] * beta
        r0 -= targets[i0]
        r1 -= targets[i1]
        r2 -= targets[i2]
        r3 -= targets[i3]
        if noisy:
            r0 -= noise[m, a]
            r1 -= noise[m, a + 1]
            r2 -= noise[m, a + 2]
            r3 -= noise[m, a + 3]
        bounded &= abs(r0) <= limit and abs(r1) <= limit
        bounded &= abs(r2) <= limit and abs(r3) <= limit
        r0, r1, r2, r3 = r0 / b, r1 / b, r2 / b, r3 / b
        # Assigned and not added to zeros: half the time of the whole step hangs on it.
        if a == 0:
            for k in range(d):
                covector[k] = (r0 * x0[k] + r1 * x1[k]) + (r2 * x2[k] + r3 * x3[k])
        else:
            for k in range(d):
                covector[k] += (r0 * x0[k] + r1 * x1[k]) + (r2 * x2[k] + r3 * x3[k])
        a += 4
    while a < b:
        row = inputs[batches[m, a]]
        residual = 0.0
        for k in range(d):
            residual += row[k] * weights[k]
        residual -= targets[batches[m, a]]
        if noisy:
            residual -= noise[m, a]
        bounded &= abs(residual) <= limit
        residual /= b
        if a == 0:
            for k in range(d):
                covector[k] = residual * row[k]
        else:
            for k in range(d):
                covector[k] += residual * row[k]
        a += 1
    return bounded


@compiled
def run_least_squares(
    batches, noise, inputs, targets, link, depth, theta, velocity, first, ramp, momentum, nesterov, limit
):
    """A step for each row of `batches`, from step `first`; returns the step at which a residual passed `limit`, or −1.

    θ and v are (1, d) or (2, d); noise is (steps, b), what is added to the targets, or (0, 0) for none.
    """
    start, stop, geometric, n_steps = ramp
    n_parts, d = theta.shape
    covector, weights, gradient = np.empty(d), np.empty(d), np.empty((n_parts, d))
    effective_weights(theta, link, depth, weights)
    us, vs = theta[0], theta[n_parts - 1]
    for m in range(batches.shape[0]):
        if not covector_of(inputs, targets, batches, noise, m, limit, weights, covector):
            return first + m
        eta = step_size_at(first + m, start, stop, geometric, n_steps)
        if link == PRODUCT and momentum == 0.0:
            for k in range(d):
                u, v, s = us[k], vs[k], eta * covector[k]
                new_u, new_v = u - s * v, v - s * u
                us[k], vs[k], weights[k] = new_u, new_v, new_u * new_v
        elif link == IDENTITY and momentum == 0.0:
            for k in range(d):
                us[k] -= eta * covector[k]
                weights[k] = us[k]
        else:
            pull_back(theta, link, depth, covector, gradient)
            for part in range(n_parts):
                update(theta[part], velocity[part], gradient[part], eta, momentum, nesterov)
            effective_weights(theta, link, depth, weights)
    return -1


@inlined
def is_bounded(gradient):
    """Whether every entry is a number within the limit."""
    bounded = True
    for k in range(gradient.shape[0]):
        bounded &= abs(gradient[k]) <= DIVERGENCE_LIMIT
    return bounded


@compiled
def run_quadratic(batches, hessians, minimizers, theta, velocity, first, ramp, momentum, nesterov):
    """The same for ℓᵢ = ½(θ−cᵢ)ᵀAᵢ(θ−cᵢ), θ and v (p,)."""
    start, stop, geometric, n_steps = ramp
    p, batch_size = theta.shape[0], batches.shape[1]
    gradient = np.empty(p)
    for m in range(batches.shape[0]):
        for k in range(p):
            gradient[k] = 0.0
        for a in range(batch_size):
            i = batches[m, a]
            for j in range(p):
                total = 0.0
                for k in range(p):
                    total += hessians[i, j, k] * (theta[k] - minimizers[i, k])
                gradient[j] += total / batch_size
        if not is_bounded(gradient):
            return first + m
        eta = step_size_at(first + m, start, stop, geometric, n_steps)
        update(theta, velocity, gradient, eta, momentum, nesterov)
    return -1
