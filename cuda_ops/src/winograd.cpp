// 3x3 convolution, stride 1, padding 1, channels-last float32 by Winograd's minimal filtering F(4x4, 3x3)
// (Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4): a quarter of the products.
// The styles are applied while tiles are read, and the epilogue while they are written, so a whole StyleGAN2 layer is
// one pass over memory.
//
// Legend: C/K input/output channels, a tile is 4x4 output pixels from 6x6 input pixels, e < 36 an element of the
// transformed tile. Transformed weights: [e][K / kColumns][C][kColumns].
#include <cmath>
#include <limits>

#include "epilogue.h"
#include "gemm.h"

namespace latentedit {
namespace {

// out[6] = B^T in[6]
LE_INLINE void input_1d(const Vec* in, Vec* out, int step) {
    const Vec a = in[0], b = in[step], c = in[2 * step], d = in[3 * step], e = in[4 * step], f = in[5 * step];
    const Vec p = e - 4.0f * c, q = d - 4.0f * b, r = e - c, s = 2.0f * (d - b);
    out[0] = 4.0f * a - 5.0f * c + e;
    out[step] = p + q;
    out[2 * step] = p - q;
    out[3 * step] = r + s;
    out[4 * step] = r - s;
    out[5 * step] = 4.0f * b - 5.0f * d + f;
}

// out[4] = A^T in[6]
LE_INLINE void output_1d(const Vec* in, int step, Vec* out, int out_step) {
    const Vec p = in[step] + in[2 * step], q = in[step] - in[2 * step];
    const Vec r = in[3 * step] + in[4 * step], s = in[3 * step] - in[4 * step];
    out[0] = in[0] + p + r;
    out[out_step] = q + 2.0f * s;
    out[2 * out_step] = p + 4.0f * r;
    out[3 * out_step] = q + 8.0f * s + in[5 * step];
}

struct Layer {
    const float *x, *weight, *styles;
    float* y;
    int64_t n, C, K, height, width, tiles_y, tiles_x;
    const Epilogue* epilogue;
};

struct Place { int64_t image, y, x; };  // of the first output pixel of a tile

Place place(const Layer& l, int64_t tile) {
    const int64_t per = l.tiles_y * l.tiles_x, in = tile % per;
    return {tile / per, in / l.tiles_x * 4, in % l.tiles_x * 4};
}

// V[e][tile][C]
void transform_input(const Layer& l, int64_t first, int64_t count, int64_t rows, float* V) {
    for (int64_t t = 0; t < count; ++t) {
        const Place at0 = place(l, first + t);
        const float* image = l.x + at0.image * l.height * l.width * l.C;
        const float* style = l.styles ? l.styles + at0.image * l.C : nullptr;
        const float* pixels[36];
        for (int i = 0; i < 36; ++i) {
            const int64_t y = at0.y - 1 + i / 6, x = at0.x - 1 + i % 6;
            const bool inside = y >= 0 && y < l.height && x >= 0 && x < l.width;
            pixels[i] = inside ? image + (y * l.width + x) * l.C : nullptr;
        }
        for (int64_t c = 0; c < l.C; c += kLanes) {
            Vec d[36], v[36];
            for (int i = 0; i < 36; ++i) d[i] = pixels[i] ? at(pixels[i] + c) : Vec{};
            if (style) {
                const Vec s = at(style + c);
                for (int i = 0; i < 36; ++i) d[i] *= s;
            }
            for (int j = 0; j < 6; ++j) input_1d(d + j, v + j, 6);
            for (int j = 0; j < 6; ++j) input_1d(v + 6 * j, d + 6 * j, 1);
            for (int e = 0; e < 36; ++e) put(V + (e * rows + t) * l.C + c, d[e]);
        }
    }
}

// M[kRows][kColumns] of one e = V rows times one panel of weights.
LE_INLINE void one_block(const float* a, int64_t C, const float* b, float* m, int64_t K) {
    Vec sum[kRows][kVectors] = {};
    block<kRows, kVectors>(a, C, C, b, sum);
    for (int i = 0; i < kRows; ++i)
        for (int j = 0; j < kVectors; ++j) put(m + i * K + j * kLanes, sum[i][j]);
}

void multiply(const Layer& l, const float* V, int64_t rows, int64_t from, int64_t columns, float* M) {
    for (int e = 0; e < 36; ++e) {
        const float* U = l.weight + int64_t(e) * l.C * l.K;
        for (int64_t k = 0; k < columns; k += kColumns)
            for (int64_t t = 0; t < rows; t += kRows)
                one_block(V + (e * rows + t) * l.C, l.C, U + (from + k) * l.C, M + (e * rows + t) * columns + k,
                          columns);
    }
}

struct Vectors {  // the epilogue of one image with the defaults filled in
    std::vector<float> scale, bias, post;
    const float* noise;
};

Vectors vectors(const Layer& l, int64_t image) {
    const Epilogue* e = l.epilogue;
    const auto pick = [&](const float* p, int64_t from, float missing) {
        return p ? std::vector<float>(p + from, p + from + l.K) : std::vector<float>(l.K, missing);
    };
    if (!e) return {pick(nullptr, 0, 1), pick(nullptr, 0, 0), pick(nullptr, 0, 1), nullptr};
    return {pick(e->scale, image * l.K, 1), pick(e->bias, 0, 0), pick(e->post, image * l.K, 1),
            e->noise ? e->noise + image * e->noise_stride : nullptr};
}

void transform_output(const Layer& l, int64_t first, int64_t count, int64_t rows, int64_t from, int64_t columns,
                      const float* M) {
    const Epilogue* e = l.epilogue;
    const float slope = !e || e->act == LINEAR ? 1.0f : e->act == RELU ? 0.0f : e->alpha;
    const float gain = e ? e->gain : 1.0f;
    const float limit = e && e->clamp >= 0 ? e->clamp : std::numeric_limits<float>::infinity();
    int64_t current = -1;
    Vectors with{};
    for (int64_t t = 0; t < count; ++t) {
        const Place to = place(l, first + t);
        if (to.image != current) with = vectors(l, current = to.image);
        for (int64_t k = 0; k < columns; k += kLanes) {
            Vec m[36], half[24], out[16];
            for (int i = 0; i < 36; ++i) m[i] = at(M + (i * rows + t) * columns + k);
            for (int j = 0; j < 6; ++j) output_1d(m + j, 6, half + j, 6);
            for (int j = 0; j < 4; ++j) output_1d(half + 6 * j, 1, out + 4 * j, 1);
            const Vec scale = at(&with.scale[from + k]), bias = at(&with.bias[from + k]),
                      post = at(&with.post[from + k]);
            for (int i = 0; i < 16; ++i) {
                const int64_t y = to.y + i / 4, x = to.x + i % 4;
                if (y >= l.height || x >= l.width) continue;
                const int64_t pixel = y * l.width + x;
                Vec u = out[i] * scale + (bias + (with.noise ? with.noise[pixel] : 0.0f));
                u = (u > 0.0f ? u : u * slope) * gain;
                u = u > limit ? all(limit) : u < -limit ? all(-limit) : u;
                put(l.y + ((to.image * l.height * l.width) + pixel) * l.K + from + k, u * post);
            }
        }
    }
}

}  // namespace
}  // namespace latentedit

using namespace latentedit;

// Whether the kernel takes these channel counts.
LE_API int le_winograd_fits(int64_t C, int64_t K) { return C % kLanes == 0 && K % kColumns == 0; }

// w [K, C, 3, 3] -> U [36 * C * K]. `backward`: of the convolution that maps gradients of the K outputs back to the C
// inputs (kernel reversed, channels swapped).
LE_API void le_winograd_prepare(const float* w, float* U, int64_t K, int64_t C, int backward, int64_t threads) {
    static const float G[6][3] = {{1.0f / 4, 0, 0},
                                  {-1.0f / 6, -1.0f / 6, -1.0f / 6},
                                  {-1.0f / 6, 1.0f / 6, -1.0f / 6},
                                  {1.0f / 24, 1.0f / 12, 1.0f / 6},
                                  {1.0f / 24, -1.0f / 12, 1.0f / 6},
                                  {0, 0, 1}};
    const int64_t in = backward ? K : C, out = backward ? C : K;
    expect_writes(U, 36 * C * K * int64_t(sizeof(float)));
    parallel(out / kColumns * in, 64, int(threads), [&](int64_t begin, int64_t end, int) {
        float g[3][3][kColumns], half[6][3][kColumns], sum[kColumns];
        for (int64_t job = begin; job < end; ++job) {
            const int64_t panel = job / in, i = job % in;
            for (int64_t j = 0; j < kColumns; ++j) {
                const int64_t o = panel * kColumns + j;
                const float* from = w + (backward ? i * C + o : o * C + i) * 9;
                for (int k = 0; k < 9; ++k) g[k / 3][k % 3][j] = from[backward ? 8 - k : k];
            }
            for (int a = 0; a < 6; ++a)
                for (int b = 0; b < 3; ++b)
                    for (int j = 0; j < kColumns; ++j)
                        half[a][b][j] = G[a][0] * g[0][b][j] + G[a][1] * g[1][b][j] + G[a][2] * g[2][b][j];
            for (int e = 0; e < 36; ++e) {
                const float *k = G[e % 6], *h = half[e / 6][0];
                for (int j = 0; j < kColumns; ++j)
                    sum[j] = k[0] * h[j] + k[1] * h[kColumns + j] + k[2] * h[2 * kColumns + j];
                std::memcpy(U + ((e * (out / kColumns) + panel) * in + i) * kColumns, sum, sizeof(sum));
            }
        }
    });
}

// y [N, H, W, K] = epilogue(conv(x [N, H, W, C] * styles [N, C])); styles and epilogue may be null. 1: not supported.
LE_API int le_winograd(const float* x, const float* U, const float* styles, float* y, int64_t n, int64_t C, int64_t K,
                       int64_t height, int64_t width, const Epilogue* epilogue, int64_t threads) {
    if (!le_winograd_fits(C, K) || (epilogue && epilogue->act > LRELU)) return 1;
    const Layer l{x, U, styles, y, n, C, K, height, width, (height + 3) / 4, (width + 3) / 4, epilogue};
    const int64_t tiles = n * l.tiles_y * l.tiles_x;
    if (!tiles) return 0;
    const int64_t wanted = C + K <= 128 ? 48 : C + K <= 512 ? 24 : 36;
    int64_t rows = (wanted + kRows - 1) / kRows * kRows;
    while (rows > kRows && tiles <= rows - kRows) rows -= kRows;
    const int64_t blocks = (tiles + rows - 1) / rows;
    int64_t cuts = 1;  // of the output channels, where the image alone gives the threads too little to share
    while (blocks * cuts < 2 * threads && K / cuts % (2 * kColumns) == 0) cuts *= 2;
    const int64_t columns = K / cuts;
    expect_writes(y, n * height * width * K * int64_t(sizeof(float)));
    parallel(blocks * cuts, 1, int(threads), [&](int64_t begin, int64_t end, int) {
        std::vector<float> V(36 * rows * C), M(36 * rows * columns);
        for (int64_t job = begin; job < end; ++job) {
            const int64_t first = job / cuts * rows, from = job % cuts * columns;
            const int64_t count = first + rows < tiles ? rows : tiles - first;
            if (job == begin || job % cuts == 0 || cuts == 1) transform_input(l, first, count, rows, V.data());
            multiply(l, V.data(), rows, from, columns, M.data());
            transform_output(l, first, count, rows, from, columns, M.data());
        }
    });
    return 0;
}
