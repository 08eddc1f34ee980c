// upfirdn2d on the GPU: a general kernel, and strips for the shapes of StyleGAN (4x4 taps that factorise; blur, up 2,
// down 2), where a thread walks down a column and keeps the horizontally filtered rows of its window in registers.
#include "epilogue.cuh"

namespace latentedit {
namespace {

// Images of `inner` numbers per pixel: n images with inner = C channels-last, n * C planes with inner = 1 otherwise.
struct Job {
    const void* x;
    const float* f;
    const void* add;
    void* y;
    int64_t images, inner, channels, first;  // first: image or plane of this launch
    int height, width, out_height, out_width, kx, ky, separable, up_x, up_y, down_x, down_y, pad_x, pad_y, flip;
    float gain, root;  // root: of the gain, which a separable filter carries per axis
};

LE_DEVICE float tap_x(const Job& j, int i) { return j.f[j.flip ? i : j.kx - 1 - i]; }
LE_DEVICE float tap_y(const Job& j, int i) { return j.f[j.kx + (j.flip ? i : j.ky - 1 - i)]; }
LE_DEVICE float tap(const Job& j, int y, int x) {
    if (j.separable) return tap_x(j, x) * tap_y(j, y);
    return j.flip ? j.f[y * j.kx + x] : j.f[j.kx * j.ky - 1 - (y * j.kx + x)];
}

// One output pixel by the definition.
template <class T, int V> LE_DEVICE void filter_at(const Job& j, const T* image, int oy, int ox, float (&sum)[V]) {
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] = 0.0f;
    const int ty = oy * j.down_y - j.pad_y, tx = ox * j.down_x - j.pad_x;
    const int ky0 = ty < 0 ? -ty : (j.up_y - ty % j.up_y) % j.up_y,
              kx0 = tx < 0 ? -tx : (j.up_x - tx % j.up_x) % j.up_x;
    for (int ky = ky0; ky < j.ky && (ty + ky) / j.up_y < j.height; ky += j.up_y)
        for (int kx = kx0; kx < j.kx && (tx + kx) / j.up_x < j.width; kx += j.up_x) {
            float v[V];
            read<T, V>(image + (int64_t((ty + ky) / j.up_y) * j.width + (tx + kx) / j.up_x) * j.inner, v);
            const float k = tap(j, ky, kx);
#pragma unroll
            for (int i = 0; i < V; ++i) sum[i] += k * v[i];
        }
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] *= j.gain;
}

template <class T, int V, bool Fused> struct Output {
    const Job& j;
    const Epilogue& e;
    int64_t image, channel;  // of the batch, for the epilogue
    int64_t start;           // of this image or plane and channel in y
    EpilogueVectors<V, PiecewiseLinear> vectors;
    LE_DEVICE Output(const Job& job, const Epilogue& epilogue, int64_t plane, int64_t c) : j(job), e(epilogue) {
        image = j.inner == 1 ? uint32_t(plane) / uint32_t(j.channels) : plane;
        channel = j.inner == 1 ? uint32_t(plane) % uint32_t(j.channels) : c;
        start = plane * j.out_height * j.out_width * j.inner + c;
        if constexpr (Fused) vectors.fill(e, image, channel, j.channels);
    }
    LE_DEVICE void put(int oy, int ox, float (&v)[V]) const {
        if (oy < 0 || ox < 0 || oy >= j.out_height || ox >= j.out_width) return;
        const int64_t pixel = int64_t(oy) * j.out_width + ox, at = start + pixel * j.inner;
        if constexpr (Fused) {
            vectors.apply(e, image, pixel, v);
            return deliver<T, V, 1>(e, image * j.channels + channel, static_cast<T*>(j.y), at, v);
        }
        if (j.add) {
            float more[V];
            read<T, V>(static_cast<const T*>(j.add) + at, more);
#pragma unroll
            for (int i = 0; i < V; ++i) v[i] += more[i];
        }
        write<T, V>(static_cast<T*>(j.y) + at, v);
    }
};

// One block for one output row.
template <class T, int V, bool Fused> LE_KERNEL void general_kernel(Job j, Epilogue e) {
    const uint32_t groups = uint32_t(j.inner / V), length = uint32_t(j.out_width) * groups,
                   height = uint32_t(j.out_height);
    const int64_t plane = j.first + blockIdx.x / height;
    const int oy = int(blockIdx.x % height);
    for (uint32_t at = threadIdx.x; at < length; at += kThreads) {
        const int ox = int(at / groups);
        const int64_t c = int64_t(at % groups) * V;
        float sum[V];
        filter_at<T, V>(j, static_cast<const T*>(j.x) + plane * j.height * j.width * j.inner + c, oy, ox, sum);
        Output<T, V, Fused>(j, e, plane, c).put(oy, ox, sum);
    }
}

// Every rank-1 filter is the outer product of its row and column sums over its sum; false for the others.
LE_DEVICE bool factorise(const Job& j, float (&fx)[4], float (&fy)[4]) {
    if (j.separable) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            fx[i] = tap_x(j, i) * j.root, fy[i] = tap_y(j, i) * (j.gain < 0.0f ? -j.root : j.root);
        return true;
    }
    float f[16], sum = 0.0f, largest = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i) fx[i] = fy[i] = 0.0f;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        f[i] = tap(j, i / 4, i % 4);
        fx[i % 4] += f[i], fy[i / 4] += f[i], sum += f[i];
        largest = fmaxf(largest, fabsf(f[i]));
    }
    const float scale = 1.0f / sum;
    bool same = fabsf(sum) > 1e-3f * largest;
#pragma unroll
    for (int i = 0; i < 16; ++i) same = same && fabsf(fy[i / 4] * fx[i % 4] * scale - f[i]) <= 4e-7f * largest;
#pragma unroll
    for (int i = 0; i < 4; ++i) fx[i] *= scale, fy[i] *= j.gain;
    return same;
}

enum Shape { BLUR, UP, DOWN };
constexpr int kRows = 24;  // steps down a strip; a multiple of every window's period

// Columns that a thread makes: neighbours share what they read, as far as registers allow.
template <int V> LE_HD constexpr int columns_of(int shape) { return shape == UP || (shape == BLUR && V == 4) ? 2 : 1; }

// The horizontally filtered input row `row` at the strip's columns; `first` is the first input column it reads.
template <class T, int V, int S>
LE_DEVICE void across(const Job& j, const T* image, int row, int first, const float (&fx)[4],
                      float (&h)[columns_of<V>(S)][V]) {
    constexpr int X = columns_of<V>(S), reads = S == UP ? 3 : 3 + X;
    float v[reads][V];
#pragma unroll
    for (int k = 0; k < reads; ++k) {
        const int col = first + k;
        if (row >= 0 && row < j.height && col >= 0 && col < j.width) {
            read<T, V>(image + (int64_t(row) * j.width + col) * j.inner, v[k]);
        } else {
#pragma unroll
            for (int i = 0; i < V; ++i) v[k][i] = 0.0f;
        }
    }
#pragma unroll
    for (int i = 0; i < V; ++i) {
        if constexpr (S == UP) {
            h[0][i] = fx[0] * v[0][i] + fx[2] * v[1][i];
            h[1][i] = fx[1] * v[1][i] + fx[3] * v[2][i];
        } else {
#pragma unroll
            for (int x = 0; x < X; ++x)
                h[x][i] = fx[0] * v[x][i] + fx[1] * v[x + 1][i] + fx[2] * v[x + 2][i] + fx[3] * v[x + 3][i];
        }
    }
}

struct Strip {
    int64_t plane, channel;
    int column, row;
    bool valid;
};  // column and row of the first step

template <int V, int S> LE_DEVICE Strip strip_of(const Job& j, int columns, int rows) {
    const uint32_t groups = uint32_t(j.inner / V), id = blockIdx.x * kThreads + threadIdx.x, rest = id / groups;
    const uint32_t segments = uint32_t(rows + kRows - 1) / kRows, upper = rest / uint32_t(columns),
                   plane = upper / segments;
    return {j.first + plane, int64_t(id % groups) * V, int(rest % uint32_t(columns)), int(upper % segments) * kRows,
            plane < j.images};
}

// Steps of a strip: for BLUR and DOWN one output row each, for UP two.
template <class T, int V, int S, bool Fused>
__launch_bounds__(kThreads, 2) LE_KERNEL void strip_kernel(Job j, Epilogue e, int columns, int rows) {
    constexpr int X = columns_of<V>(S), window = S == UP ? 3 : 4, advance = S == DOWN ? 2 : 1,
                  period = S == UP     ? 3
                           : S == DOWN ? 2
                                       : 4;
    const Strip s = strip_of<V, S>(j, columns, rows);
    if (!s.valid) return;
    const T* image = static_cast<const T*>(j.x) + s.plane * j.height * j.width * j.inner + s.channel;
    const Output<T, V, Fused> output(j, e, s.plane, s.channel);
    // For UP, outputs come in pairs whose first one sits on an input pixel: the parity of the padding decides which.
    const int ox = S == UP ? 2 * s.column - (j.pad_x & 1) : s.column * X;
    const int in_x = S == UP ? (ox - j.pad_x) / 2 : S == DOWN ? 2 * ox - j.pad_x : ox - j.pad_x;
    const int odd = j.pad_y & 1;
    int row = S == UP ? s.row - (odd + j.pad_y) / 2 : S == DOWN ? 2 * s.row - j.pad_y : s.row - j.pad_y;
    float fx[4], fy[4], sum[V];
    if (!factorise(j, fx, fy)) {
        for (int step = s.row; step < s.row + kRows && step < rows; ++step)
            for (int k = 0; k < (S == UP ? 2 : 1); ++k)
                for (int x = 0; x < X; ++x) {
                    const int oy = S == UP ? 2 * step - odd + k : step;
                    if (oy < 0 || ox + x < 0 || oy >= j.out_height || ox + x >= j.out_width) continue;
                    filter_at<T, V>(j, image, oy, ox + x, sum);
                    output.put(oy, ox + x, sum);
                }
        return;
    }
    float h[window][X][V];
#pragma unroll
    for (int k = 0; k < window - advance; ++k) across<T, V, S>(j, image, row + k, in_x, fx, h[k]);
    for (int step = s.row; step < s.row + kRows && step < rows; step += period) {
#pragma unroll
        for (int p = 0; p < period; ++p, row += advance) {
#pragma unroll
            for (int k = window - advance; k < window; ++k)
                across<T, V, S>(j, image, row + k, in_x, fx, h[(p * advance + k) % window]);
#pragma unroll
            for (int x = 0; x < X; ++x) {
                const auto at = [&](int k, int i) { return h[(p * advance + k) % window][x][i]; };
                if constexpr (S == UP) {
#pragma unroll
                    for (int i = 0; i < V; ++i) sum[i] = fy[0] * at(0, i) + fy[2] * at(1, i);
                    output.put(2 * (step + p) - odd, ox + x, sum);
#pragma unroll
                    for (int i = 0; i < V; ++i) sum[i] = fy[1] * at(1, i) + fy[3] * at(2, i);
                    output.put(2 * (step + p) - odd + 1, ox + x, sum);
                } else {
#pragma unroll
                    for (int i = 0; i < V; ++i)
                        sum[i] = fy[0] * at(0, i) + fy[1] * at(1, i) + fy[2] * at(2, i) + fy[3] * at(3, i);
                    output.put(step + p, ox + x, sum);
                }
            }
        }
    }
}

template <class T, int V, int S, bool Fused> int strips(const Job& j, const Epilogue& e, int64_t stream) {
    const int columns =
        S == UP ? (j.out_width + (j.pad_x & 1) + 1) / 2 : (j.out_width + columns_of<V>(S) - 1) / columns_of<V>(S);
    const int rows = S == UP ? (j.out_height + (j.pad_y & 1) + 1) / 2 : j.out_height;
    const int64_t threads = j.images * (j.inner / V) * columns * ((rows + kRows - 1) / kRows);
    if (threads >= (int64_t(1) << 32) - kThreads) return -1;
    return LE_LAUNCH((strip_kernel<T, V, S, Fused>), (threads + kThreads - 1) / kThreads, kThreads, stream, j, e,
                     columns, rows);
}

template <class T, int V> int launch(const Job& j, const Epilogue* fused, int64_t stream) {
    const bool four = j.kx == 4 && j.ky == 4 && j.up_x == j.up_y && j.down_x == j.down_y;
    const Epilogue e = fused ? *fused : Epilogue{};
    if (four && j.up_x == 1 && j.down_x == 1)
        return fused ? strips<T, V, BLUR, true>(j, e, stream) : strips<T, V, BLUR, false>(j, e, stream);
    if (four && j.up_x == 2 && j.down_x == 1 && !fused) return strips<T, V, UP, false>(j, e, stream);
    if (four && j.up_x == 1 && j.down_x == 2 && !fused) return strips<T, V, DOWN, false>(j, e, stream);
    const int64_t blocks = j.images * j.out_height;
    if (int64_t(j.out_width) * j.inner >= int64_t(1) << 31 || blocks >= int64_t(1) << 31) return -1;
    if (fused) return LE_LAUNCH((general_kernel<T, V, true>), blocks, kThreads, stream, j, e);
    return LE_LAUNCH((general_kernel<T, V, false>), blocks, kThreads, stream, j, e);
}

}  // namespace
}  // namespace latentedit

using namespace latentedit;

LE_API int le_upfirdn2d(int dtype, const void* x, const float* f, const void* add, void* y, int64_t n, int64_t channels,
                        int64_t height, int64_t width, int64_t out_height, int64_t out_width, int channels_last, int kx,
                        int ky, int separable, int up_x, int up_y, int down_x, int down_y, int pad_x, int pad_y,
                        int flip, float gain, const Epilogue* epilogue, int64_t stream) {
    if (n * channels * out_height * out_width == 0) return 0;
    if (epilogue && (epilogue->act > LRELU || add)) return -1;
    const float root = sqrtf(fabsf(gain));
    const Job j{x,
                f,
                add,
                y,
                channels_last ? n : n * channels,
                channels_last ? channels : 1,
                channels,
                0,
                int(height),
                int(width),
                int(out_height),
                int(out_width),
                kx,
                ky,
                separable,
                up_x,
                up_y,
                down_x,
                down_y,
                pad_x,
                pad_y,
                flip,
                gain,
                root};
    return with_dtype(dtype, [&](auto* p) {
        using T = std::remove_pointer_t<decltype(p)>;
        const bool wide = j.inner % (16 / sizeof(T)) == 0 && aligned(x) && aligned(add) && aligned(y) &&
                          (!epilogue || aligned(epilogue->product));
        const int64_t all = j.images,
                      most = (int64_t(1) << 30) / (out_height * (channels_last ? channels : 1) * out_width) + 1;
        Job part = j;
        for (part.first = 0; part.first < all;
             part.first += part.images) {  // thread and block indices are 32 bits wide
            part.images = all - part.first < most ? all - part.first : most;
            const int status =
                with_width<T>(wide, [&](auto v) { return launch<T, decltype(v)::value>(part, epilogue, stream); });
            if (status) return status;
        }
        return 0;
    });
}
