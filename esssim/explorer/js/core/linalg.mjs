// Dense linear algebra of small matrices: Float64Array, row after row.

const EPS = 2 ** -52,
  // Two or three for an eigenvalue are usual; EISPACK gives up after thirty.
  SWEEPS = 60;
// After so many products Lanczos looks whether it is done: looking costs as much as a few of them.
const CHECKED = [1, 2, 4, 6, 8, 10, 13, 16, 20, 24];

export const dot = (x, y) => {
  let total = 0;
  for (let i = 0; i < x.length; i++) total += x[i] * y[i];
  return total;
};

/** A·B for A (m, k) and B (k, n). */
export function product(A, B, m, k, n) {
  const C = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let l = 0; l < k; l++) {
      const a = A[i * k + l];
      if (a !== 0) for (let j = 0; j < n; j++) C[i * n + j] += a * B[l * n + j];
    }
  return C;
}

export function transposed(A, m, n) {
  const B = new Float64Array(m * n);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) B[j * m + i] = A[i * n + j];
  return B;
}

/** Aᵀ diag(w) A for A (m, n); w defaults to ones. */
export function gram(A, m, n, w) {
  const C = new Float64Array(n * n);
  for (let i = 0; i < m; i++) {
    const weight = w ? w[i] : 1,
      row = i * n;
    for (let j = 0; j < n; j++) {
      const a = weight * A[row + j];
      if (a !== 0) for (let k = 0; k <= j; k++) C[j * n + k] += a * A[row + k];
    }
  }
  for (let j = 0; j < n; j++) for (let k = 0; k < j; k++) C[k * n + j] = C[j * n + k];
  return C;
}

/** Eigenvalues, ascending, and eigenvectors (the columns of an (n, n) matrix) of a symmetric matrix. */
export function symmetricEigen(A, n) {
  const V = Float64Array.from(A),
    d = new Float64Array(n),
    e = new Float64Array(n);
  tridiagonalise(V, d, e, n);
  tridiagonalEigen(d, e, n, V);
  const order = Array.from(d.keys()).sort((i, j) => d[i] - d[j]);
  const values = Float64Array.from(order, (i) => d[i]),
    vectors = new Float64Array(n * n);
  for (let k = 0; k < n; k++) for (let j = 0; j < n; j++) vectors[k * n + j] = V[k * n + order[j]];
  return { values, vectors };
}

/** Eigenvalues of a symmetric matrix, ascending; the matrix is overwritten. */
export function eigenvaluesInPlace(A, n) {
  const d = new Float64Array(n),
    e = new Float64Array(n);
  reduceOnly(A, d, e, n);
  tridiagonalEigen(d, e, n, null);
  return d.sort();
}

/** Householder reduction to tridiagonal form with the accumulated transformation in V (tred2 of EISPACK). */
function tridiagonalise(V, d, e, n) {
  for (let j = 0; j < n; j++) d[j] = V[(n - 1) * n + j];
  for (let i = n - 1; i > 0; i--) {
    let scale = 0,
      h = 0;
    for (let k = 0; k < i; k++) scale += Math.abs(d[k]);
    if (scale === 0) {
      e[i] = d[i - 1];
      for (let j = 0; j < i; j++) {
        d[j] = V[(i - 1) * n + j];
        V[i * n + j] = V[j * n + i] = 0;
      }
    } else {
      for (let k = 0; k < i; k++) {
        d[k] /= scale;
        h += d[k] * d[k];
      }
      let f = d[i - 1],
        g = f > 0 ? -Math.sqrt(h) : Math.sqrt(h);
      e[i] = scale * g;
      h -= f * g;
      d[i - 1] = f - g;
      e.fill(0, 0, i);
      for (let j = 0; j < i; j++) {
        f = d[j];
        V[j * n + i] = f;
        g = e[j] + V[j * n + j] * f;
        for (let k = j + 1; k < i; k++) {
          g += V[k * n + j] * d[k];
          e[k] += V[k * n + j] * f;
        }
        e[j] = g;
      }
      f = 0;
      for (let j = 0; j < i; j++) {
        e[j] /= h;
        f += e[j] * d[j];
      }
      const hh = f / (h + h);
      for (let j = 0; j < i; j++) e[j] -= hh * d[j];
      for (let j = 0; j < i; j++) {
        f = d[j];
        g = e[j];
        for (let k = j; k < i; k++) V[k * n + j] -= f * e[k] + g * d[k];
        d[j] = V[(i - 1) * n + j];
        V[i * n + j] = 0;
      }
    }
    d[i] = h;
  }
  for (let i = 0; i < n - 1; i++) {
    V[(n - 1) * n + i] = V[i * n + i];
    V[i * n + i] = 1;
    const h = d[i + 1];
    if (h !== 0) {
      for (let k = 0; k <= i; k++) d[k] = V[k * n + i + 1] / h;
      for (let j = 0; j <= i; j++) {
        let g = 0;
        for (let k = 0; k <= i; k++) g += V[k * n + i + 1] * V[k * n + j];
        for (let k = 0; k <= i; k++) V[k * n + j] -= g * d[k];
      }
    }
    for (let k = 0; k <= i; k++) V[k * n + i + 1] = 0;
  }
  for (let j = 0; j < n; j++) {
    d[j] = V[(n - 1) * n + j];
    V[(n - 1) * n + j] = 0;
  }
  V[n * n - 1] = 1;
  e[0] = 0;
}

/** The same reduction without the transformation, from the lower triangle of A; A is overwritten. */
function reduceOnly(A, d, e, n) {
  const u = new Float64Array(n),
    p = new Float64Array(n);
  for (let i = n - 1; i > 1; i--) {
    const row = i * n;
    let scale = 0;
    for (let k = 0; k < i; k++) scale += Math.abs(A[row + k]);
    d[i] = A[row + i];
    if (scale === 0) {
      e[i] = 0;
      continue;
    }
    let h = 0;
    for (let k = 0; k < i; k++) {
      u[k] = A[row + k] / scale;
      h += u[k] * u[k];
    }
    const f = u[i - 1],
      g = f > 0 ? -Math.sqrt(h) : Math.sqrt(h);
    e[i] = scale * g;
    h -= f * g;
    u[i - 1] = f - g;
    p.fill(0, 0, i);
    for (let j = 0; j < i; j++) {
      const at = j * n,
        uj = u[j];
      let sum = A[at + j] * uj;
      for (let k = 0; k < j; k++) {
        sum += A[at + k] * u[k];
        p[k] += A[at + k] * uj;
      }
      p[j] += sum;
    }
    let inner = 0;
    for (let k = 0; k < i; k++) {
      p[k] /= h;
      inner += p[k] * u[k];
    }
    const half = inner / (h + h);
    for (let k = 0; k < i; k++) p[k] -= half * u[k];
    for (let j = 0; j < i; j++) {
      const at = j * n,
        uj = u[j],
        pj = p[j];
      for (let k = 0; k <= j; k++) A[at + k] -= uj * p[k] + pj * u[k];
    }
  }
  d[0] = A[0];
  if (n > 1) {
    d[1] = A[n + 1];
    e[1] = A[n];
  }
}

/** Implicit QL of a tridiagonal matrix: eigenvalues in d; rotates the columns of V where there is one (tql2). */
function tridiagonalEigen(d, e, n, V) {
  for (let i = 1; i < n; i++) e[i - 1] = e[i];
  e[n - 1] = 0;
  let shift = 0,
    largest = 0;
  for (let l = 0; l < n; l++) {
    largest = Math.max(largest, Math.abs(d[l]) + Math.abs(e[l]));
    let m = l;
    while (m < n - 1 && Math.abs(e[m]) > EPS * largest) m++;
    if (m > l) {
      let sweeps = 0;
      do {
        let g = d[l],
          p = (d[l + 1] - g) / (2 * e[l]),
          r = Math.hypot(p, 1);
        if (p < 0) r = -r;
        d[l] = e[l] / (p + r);
        d[l + 1] = e[l] * (p + r);
        const next = d[l + 1];
        let h = g - d[l];
        for (let i = l + 2; i < n; i++) d[i] -= h;
        shift += h;
        p = d[m];
        let c = 1,
          c2 = 1,
          c3 = 1,
          s = 0,
          s2 = 0;
        const after = e[l + 1];
        for (let i = m - 1; i >= l; i--) {
          c3 = c2;
          c2 = c;
          s2 = s;
          g = c * e[i];
          h = c * p;
          r = Math.sqrt(p * p + e[i] * e[i]);
          e[i + 1] = s * r;
          s = e[i] / r;
          c = p / r;
          p = c * d[i] - s * g;
          d[i + 1] = h + s * (c * g + s * d[i]);
          if (V)
            for (let k = 0; k < n; k++) {
              const at = k * n + i,
                x = V[at + 1],
                y = V[at];
              V[at + 1] = s * y + c * x;
              V[at] = c * y - s * x;
            }
        }
        p = (-s * s2 * c3 * after * e[l]) / next;
        e[l] = s * p;
        d[l] = c * p;
        if (++sweeps > SWEEPS) return d.fill(NaN);
      } while (Math.abs(e[l]) > EPS * largest);
    }
    d[l] += shift;
    e[l] = 0;
  }
}

/** Orthonormal columns Q of A (m, n) = QR with a positive diagonal of R, which makes it unique. */
export function orthonormalColumns(A, m, n) {
  const Q = Float64Array.from(A);
  for (let j = 0; j < n; j++) {
    // Twice is enough: the second pass removes what rounding left of the first.
    for (let pass = 0; pass < 2; pass++)
      for (let k = 0; k < j; k++) {
        let inner = 0;
        for (let i = 0; i < m; i++) inner += Q[i * n + k] * Q[i * n + j];
        for (let i = 0; i < m; i++) Q[i * n + j] -= inner * Q[i * n + k];
      }
    let size = 0;
    for (let i = 0; i < m; i++) size += Q[i * n + j] ** 2;
    size = Math.sqrt(size);
    for (let i = 0; i < m; i++) Q[i * n + j] /= size;
  }
  return Q;
}

/** x with Ax = right for a symmetric positive definite A, or null. */
export function solvePositive(A, right, n) {
  const L = Float64Array.from(A),
    x = Float64Array.from(right);
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let sum = L[i * n + j];
      for (let k = 0; k < j; k++) sum -= L[i * n + k] * L[j * n + k];
      if (i === j && !(sum > 0)) return null;
      L[i * n + j] = i === j ? Math.sqrt(sum) : sum / L[j * n + j];
    }
  }
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i] -= L[i * n + k] * x[k];
    x[i] /= L[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i] -= L[k * n + i] * x[k];
    x[i] /= L[i * n + i];
  }
  return x;
}

/** {value, vector}: the largest eigenvalue of a symmetric map, by Lanczos with full reorthogonalisation. */
export function lanczos(apply, start, tolerance) {
  const n = start.length,
    basis = [],
    alpha = [],
    beta = [];
  let vector = start,
    size = Math.sqrt(dot(vector, vector)),
    found;
  for (let m = 0; m < n; m++) {
    basis.push(vector.map((x) => x / size));
    const image = apply(basis[m]);
    alpha.push(dot(image, basis[m]));
    for (let pass = 0; pass < 2; pass++)
      for (const q of basis) {
        const inner = dot(q, image);
        for (let i = 0; i < n; i++) image[i] -= inner * q[i];
      }
    size = Math.sqrt(dot(image, image));
    const count = m + 1,
      looks = count === n || count > 24 || CHECKED.includes(count) || size <= EPS * Math.abs(alpha[m]);
    if (!looks) {
      beta.push(size);
      vector = image;
      continue;
    }
    const T = new Float64Array(count * count);
    for (let i = 0; i < count; i++) {
      T[i * count + i] = alpha[i];
      if (i) T[i * count + i - 1] = T[(i - 1) * count + i] = beta[i - 1];
    }
    const { values, vectors } = symmetricEigen(T, count);
    found = { value: values[m], weights: Array.from({ length: count }, (_, i) => vectors[i * count + m]) };
    // The error of the eigenvector is this residual over the gap to the next eigenvalue.
    const residual = size * Math.abs(found.weights[m]),
      gap = m ? values[m] - values[m - 1] : 0;
    if (residual <= tolerance * gap || size <= EPS * Math.abs(found.value)) break;
    beta.push(size);
    vector = image;
  }
  const vector_ = new Float64Array(n);
  found.weights.forEach((weight, k) => basis[k].forEach((x, i) => (vector_[i] += weight * x)));
  return { value: found.value, vector: vector_ };
}
