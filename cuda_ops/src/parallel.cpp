// Threads. Python hands over GOMP_parallel of the OpenMP runtime that PyTorch has loaded, so that both share one pool
// and never oversubscribe the cores; without it, threads are started per call.
#include <sys/mman.h>

#include <atomic>
#include <thread>
#include <vector>

#include "cpu.h"

namespace latentedit {
namespace {

using Gomp = void (*)(void (*)(void*), void*, unsigned, unsigned);
std::atomic<Gomp> gomp{nullptr};

struct Work {
    const std::function<void(int64_t, int64_t, int)>& body;
    int64_t count, grain;
    std::atomic<int64_t> next{0};
    std::atomic<int> workers{0};

    void run() {
        const int worker = workers.fetch_add(1);
        for (;;) {
            const int64_t begin = next.fetch_add(grain);
            if (begin >= count) return;
            body(begin, begin + grain < count ? begin + grain : count, worker);
        }
    }
};

}  // namespace

void parallel(int64_t count, int64_t grain, int threads, const std::function<void(int64_t, int64_t, int)>& body) {
    if (count <= 0) return;
    grain = grain < 1 ? 1 : grain;
    const int64_t pieces = (count + grain - 1) / grain;
    const int used = static_cast<int>(pieces < threads ? pieces : threads);
    if (used <= 1) return body(0, count, 0);
    Work work{body, count, grain};
    if (Gomp start = gomp.load()) {
        start([](void* data) { static_cast<Work*>(data)->run(); }, &work, static_cast<unsigned>(used), 0);
        return;
    }
    std::vector<std::thread> pool;
    for (int i = 1; i < used; ++i) pool.emplace_back([&work] { work.run(); });
    work.run();
    for (auto& thread : pool) thread.join();
}

void expect_writes(void* data, int64_t bytes) {
#ifdef MADV_HUGEPAGE
    constexpr uintptr_t page = 2 << 20;
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes)) / page * page;
    if (end > begin + page) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace latentedit

LE_API void le_use_gomp(void* start) { latentedit::gomp.store(reinterpret_cast<latentedit::Gomp>(start)); }
LE_API int le_abi() { return 2; }
