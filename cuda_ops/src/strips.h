// The shapes of StyleGAN for upfirdn2d on the CPU: 4 taps per axis; blur, up 2, down 2; channels-last. A vector of
// channels walks along a row: four rows are filtered vertically into registers, where the horizontal taps find them.
#pragma once
#include "resampling.h"
#include "vec.h"

namespace latentedit {

enum class Strip { none, blur, up, down };

inline Strip strip_of(const Job& job, int ky, int up_y, int down_y) {
    const bool fits =
        job.separable && job.inner % kLanes == 0 && job.kx == 4 && ky == 4 && job.up_x == up_y && job.down_x == down_y;
    if (!fits || job.up_x * job.down_x > 2) return Strip::none;
    return job.up_x == 2 ? Strip::up : job.down_x == 2 ? Strip::down : Strip::blur;
}

// Four rows of the input, or two for `up`, and their taps; `ahead`: the row to be read next.
template <class T> struct Reach {
    const T* rows[4];
    float f[4];
    const T* ahead;

    Reach from(int64_t c) const {
        return {{rows[0] + c, rows[1] + c, rows[2] + c, rows[3] + c}, {f[0], f[1], f[2], f[3]}, ahead + c};
    }
};

// J vectors side by side: neighbours in memory, so that whole cache lines stream.
template <int J> struct Wide { Vec v[J]; };

template <Strip S, int J, class T> struct StripWalk {
    // Copies, so that they stay in registers whatever is written.
    const Reach<T> r;
    const int64_t width, inner;
    float* const out;  // at output column chunk.x0 and the first of the channels

    LE_INLINE Wide<J> column(int64_t i) const {
        Wide<J> w;
        if (i < 0 || i >= width) {
            for (int j = 0; j < J; ++j) w.v[j] = Vec{};
            return w;
        }
        const int64_t from = i * inner;
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j) {
            const int64_t p = from + j * kLanes;
            __builtin_prefetch(r.ahead + p);
            w.v[j] = r.f[0] * at(r.rows[0] + p) + r.f[1] * at(r.rows[1] + p);
            if constexpr (S != Strip::up) w.v[j] += r.f[2] * at(r.rows[2] + p) + r.f[3] * at(r.rows[3] + p);
        }
        return w;
    }

    LE_INLINE void put2(int64_t o, float f, const Wide<J>& a, float g, const Wide<J>& b) const {
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j) put(out + o * inner + j * kLanes, f * a.v[j] + g * b.v[j]);
    }

    LE_INLINE void put4(int64_t o, const float* f, const Wide<J>& a, const Wide<J>& b, const Wide<J>& d,
                        const Wide<J>& e) const {
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j)
            put(out + o * inner + j * kLanes, f[0] * a.v[j] + f[1] * b.v[j] + f[2] * d.v[j] + f[3] * e.v[j]);
    }

    LE_INLINE void run(const Job& job, const Chunk& chunk) const {
        const int64_t pad = job.pad_x;
        const float f[4] = {float(job.fx[0]), float(job.fx[1]), float(job.fx[2]), float(job.fx[3])};
        const int64_t n = chunk.x1 - chunk.x0;
        if constexpr (S == Strip::blur) {
            int64_t i = chunk.x0 - pad;
            Wide<J> a = column(i), b = column(i + 1), d = column(i + 2);
            for (int64_t o = 0; o < n; ++o, ++i) {
                const Wide<J> e = column(i + 3);
                put4(o, f, a, b, d, e);
                a = b, b = d, d = e;
            }
        } else if constexpr (S == Strip::down) {
            int64_t i = 2 * chunk.x0 - pad;
            Wide<J> a = column(i), b = column(i + 1);
            for (int64_t o = 0; o < n; ++o, i += 2) {
                const Wide<J> d = column(i + 2), e = column(i + 3);
                put4(o, f, a, b, d, e);
                a = d, b = e;
            }
        } else {
            const int64_t odd = (chunk.x0 - pad) & 1;  // the first column lies between two inputs
            int64_t i = (chunk.x0 - pad + odd) / 2, o = odd;
            Wide<J> a = column(i), b = column(i + 1);
            if (odd) put2(0, f[1], a, f[3], b);
            for (; o < n; o += 2, ++i) {
                put2(o, f[0], a, f[2], b);
                const Wide<J> d = column(i + 2);
                if (o + 1 < n) put2(o + 1, f[1], b, f[3], d);
                a = b, b = d;
            }
        }
    }
};

template <Strip S, class T> void strip(const Job& job, const Reach<T>& r, const Chunk& chunk, float* out) {
    int64_t c = 0;
    for (; c + kWide * kLanes <= job.inner; c += kWide * kLanes)
        StripWalk<S, kWide, T>{r.from(c), job.width, job.inner, out + c}.run(job, chunk);
    for (; c < job.inner; c += kLanes) StripWalk<S, 1, T>{r.from(c), job.width, job.inner, out + c}.run(job, chunk);
}

}  // namespace latentedit
