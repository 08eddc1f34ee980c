// A register-blocked matrix product: rows of pixels times packed panels of weights.
#pragma once
#include "vec.h"

namespace latentedit {

// Rows and columns of results that a block keeps in registers.
#if defined(__AVX512F__)
constexpr int kRows = 12, kVectors = 2, kRowStep = 4;
#elif defined(__AVX__)
constexpr int kRows = 6, kVectors = 2, kRowStep = 2;
#else
constexpr int kRows = 8, kVectors = 2, kRowStep = 4;
#endif
constexpr int kColumns = kLanes * kVectors;

// sum[R][V] += a [R, C], its rows `stride` and its columns `step` apart, times one panel b [C][V * kLanes].
template <int R, int V>
LE_INLINE void block(const float* a, int64_t stride, int64_t C, const float* b, Vec (&sum)[R][V], int64_t step = 1) {
    for (int64_t c = 0; c < C; ++c, a += step, b += V * kLanes) {
        Vec w[V];
#pragma GCC unroll 4
        for (int j = 0; j < V; ++j) w[j] = at(b + j * kLanes);
#pragma GCC unroll 12
        for (int i = 0; i < R; ++i) {
            const Vec v = all(a[i * stride]);
#pragma GCC unroll 4
            for (int j = 0; j < V; ++j) sum[i][j] += v * w[j];
        }
    }
}

template <int R, int V, class Begin, class Store>
LE_INLINE void finished_block(const float* a, int64_t stride, int64_t C, const float* b, int64_t row, int64_t column,
                              const Begin& begin, const Store& store) {
    Vec sum[R][V];
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) {
        const Vec first = begin(column + j * kLanes);
#pragma GCC unroll 12
        for (int i = 0; i < R; ++i) sum[i][j] = first;
    }
    block<R, V>(a + row * stride, stride, C, b, sum);
#pragma GCC unroll 12
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < V; ++j) store(row + i, column + j * kLanes, sum[i][j]);
}

// a [rows, C], its rows `stride` apart and as many of them readable as a multiple of kRowStep, times packed b
// [columns / (V * kLanes)][C][V * kLanes]. A result starts as begin(column) and ends in store(row, column, vector),
// which is called for rows beyond `rows` too.
template <int V, class Begin, class Store>
LE_INLINE void product(const float* a, int64_t stride, int64_t rows, int64_t C, const float* b, int64_t columns,
                       const Begin& begin, const Store& store) {
    for (int64_t column = 0; column < columns; column += V * kLanes, b += C * V * kLanes) {
        int64_t row = 0;
        for (; row + kRows <= rows; row += kRows) finished_block<kRows, V>(a, stride, C, b, row, column, begin, store);
        const int64_t left = rows - row;
        if (left > 2 * kRowStep) finished_block<kRows, V>(a, stride, C, b, row, column, begin, store);
        else if (left > kRowStep) finished_block<2 * kRowStep, V>(a, stride, C, b, row, column, begin, store);
        else if (left > 0) finished_block<kRowStep, V>(a, stride, C, b, row, column, begin, store);
    }
}

}  // namespace latentedit
