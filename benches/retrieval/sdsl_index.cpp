// The index that SEAL uses, sdsl-lite's csa_wt_int<> (Debian's libsdsl-dev), with SEAL's layout and calls: documents
// reversed one by one, symbols shifted by 10, backward search per token, interval_symbols for what may follow.
//
//     sdsl_index FOLDER build              reads FOLDER/corpus.{u16,docs}, writes FOLDER/sdsl.index
//     sdsl_index FOLDER QUERIES            one round: every line is a name, its nanoseconds and its answer
#include <sdsl/suffix_arrays.hpp>
#include <sdsl/wavelet_trees.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

using Index = sdsl::csa_wt_int<>;
constexpr uint64_t SHIFT = 10;

template <class T> static std::vector<T> read_all(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    std::vector<T> values(size_t(file.tellg()) / sizeof(T));
    file.seekg(0).read(reinterpret_cast<char*>(values.data()), values.size() * sizeof(T));
    return values;
}
static double now() {
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
// Most bytes of memory that this process has held so far.
static double peak() {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;)
        if (word == "VmHWM:") return status >> word, 1024 * std::stod(word);
    return 0;
}
// The documents, each reversed, 4 bytes per symbol; one at a time, so that the peak of memory is that of the build.
static size_t write_reversed(const std::string& folder, const std::string& raw) {
    auto offsets = read_all<uint64_t>(folder + "/corpus.docs");
    std::ifstream tokens(folder + "/corpus.u16", std::ios::binary);
    std::ofstream out(raw, std::ios::binary);
    std::vector<uint16_t> document;
    std::vector<int32_t> reversed;
    for (size_t d = 0; d + 1 < offsets.size(); d++) {
        document.resize(offsets[d + 1] - offsets[d]);
        tokens.read(reinterpret_cast<char*>(document.data()), 2 * document.size());
        reversed.assign(document.rbegin(), document.rend());
        for (int32_t& symbol : reversed) symbol += SHIFT;
        out.write(reinterpret_cast<char*>(reversed.data()), 4 * reversed.size());
    }
    return offsets.back();
}
struct Range { uint64_t low, high; };  // inclusive
static Range find(const Index& index, const uint32_t* ids, size_t length) {
    Range at{0, index.size() - 1};
    for (size_t i = 0; i < length; i++) {
        uint64_t low, high;
        if (!sdsl::backward_search(index, at.low, at.high, ids[i] + SHIFT, low, high)) return {1, 0};
        at = {low, high};
    }
    return at;
}
// As SEAL calls it: three arrays of the alphabet's size, made anew if `fresh`.
static uint64_t distinct(const Index& index, Range at, bool fresh) {
    static std::vector<uint64_t> kept[3];
    size_t sigma = index.wavelet_tree.sigma;
    std::vector<uint64_t> made[3];
    auto* arrays = fresh ? made : kept;
    for (int i = 0; i < 3; i++) arrays[i].resize(sigma);
    uint64_t count = 0, sum = 0;
    sdsl::interval_symbols(index.wavelet_tree, at.low, at.high + 1, count, arrays[0], arrays[1], arrays[2]);
    for (uint64_t i = 0; i < count; i++) sum += arrays[0][i] > SHIFT ? arrays[2][i] - arrays[1][i] : 0;  // no separator
    return sum;
}
int main(int, char** arguments) {
    std::string folder = arguments[1], mode = arguments[2], file = folder + "/sdsl.index";
    Index index;
    if (mode == "build") {
        size_t symbols = write_reversed(folder, file + ".raw");
        double start = now();
        sdsl::construct(index, file + ".raw", 4);
        std::printf("build\t%.0f\t%zu\n", now() - start, symbols);
        std::printf("peak\t%.0f\t%zu\n", peak(), symbols);
        std::printf("bytes\t%.0f\t%zu\n", double(sdsl::size_in_bytes(index)), symbols);
        sdsl::store_to_file(index, file);
        return std::remove((file + ".raw").c_str());
    }
    double start = now();
    sdsl::load_from_file(index, file);
    std::printf("open\t%.0f\t0\n", now() - start);
    auto queries = read_all<uint32_t>(mode);  // kind, length, count, then count n-grams of that length
    for (size_t at = 0; at < queries.size();) {
        uint32_t kind = queries[at], length = queries[at + 1], count = queries[at + 2];
        const uint32_t* ids = &queries[at + 3];
        at += 3 + size_t(length) * count;
        if (kind == 0) {
            uint64_t sum = 0;
            start = now();
            for (uint32_t q = 0; q < count; q++) {
                Range found = find(index, ids + size_t(q) * length, length);
                sum += found.high + 1 - found.low;
            }
            std::printf("extend %u-grams\t%.1f\t%lu\n", length, (now() - start) / count / length, sum);
            if (length != 3) continue;
            // May these 64 tokens follow: the last ones of other grams after the first one of each.
            uint32_t tested = std::min(count, 2000u);
            sum = 0;
            start = now();
            for (uint32_t q = 0; q < tested; q++) {
                Range first = find(index, ids + size_t(q) * 3, 1);
                for (uint64_t i = 0, at = uint64_t(q) * 64 % (count - 64); i < 64; i++) {
                    uint64_t low, high;
                    sum += sdsl::backward_search(index, first.low, first.high, ids[(at + i) * 3 + 2] + SHIFT, low, high);
                }
            }
            std::printf("candidate test\t%.1f\t%lu\n", (now() - start) / tested / 64, sum);
            continue;
        }
        std::vector<Range> ranges;
        for (uint32_t q = 0; q < count; q++) ranges.push_back(find(index, ids + size_t(q) * length, length));
        for (bool fresh : {false, true}) {
            uint64_t sum = 0;
            start = now();
            for (Range range : ranges) sum += distinct(index, range, fresh);
            std::printf("distinct of %u rows%s\t%.1f\t%lu\n", kind, fresh ? ", as SEAL allocates" : "", (now() - start) / count, sum);
        }
    }
}
