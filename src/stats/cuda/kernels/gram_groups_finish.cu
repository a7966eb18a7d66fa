// The last step of X'X of groups with few columns: adds up shares and images, and writes both halves.
#define THREADS 128
// Sums that are on their way at a time.
#define AHEAD 8

// Adds images to `all` and to `own`. An image is the sum of its shares, which lie `distance` apart.
template <class T>
__device__ __forceinline__ void add_images(T& all, T& own, const float* from, unsigned long long distance,
                                           unsigned images, unsigned shares) {
    const unsigned count = images * shares;
    unsigned seen = 0;
    T image = 0;
    for (unsigned at = 0; at < count; at += AHEAD) {
        float held[AHEAD];
#pragma unroll
        for (unsigned i = 0; i < AHEAD; ++i) {
            held[i] = at + i < count ? from[(at + i) * distance] : 0.0f;
        }
#pragma unroll
        for (unsigned i = 0; i < AHEAD; ++i) {
            if (at + i < count) {
                image += held[i];
                if (++seen == shares) {
                    all += image;
                    own += image;
                    image = 0;
                    seen = 0;
                }
            }
        }
    }
}

// Block (x, y) finishes, for 128 groups, pair y of the columns, or a column where y is past the pairs. `add` says that
// `into` and `sums` hold something, `again` that `few` and `own` hold what earlier images of this sample gave.
extern "C" __global__ void __launch_bounds__(THREADS)
gram_groups_finish(const float* partial, unsigned groups, unsigned images, unsigned shares, unsigned size, float* into,
                   double* sums, unsigned add, float* few, double* own, unsigned again) {
    const unsigned group = blockIdx.x * THREADS + threadIdx.x, pairs = size * (size + 1) / 2;
    if (group >= groups) {
        return;
    }
    const float* from = partial + static_cast<unsigned long long>(blockIdx.y) * groups + group;
    const unsigned long long distance = static_cast<unsigned long long>(pairs + size) * groups;
    if (blockIdx.y >= pairs) {
        const unsigned long long at = static_cast<unsigned long long>(group) * size + (blockIdx.y - pairs);
        double value = add ? sums[at] : 0.0, mine = again ? own[at] : 0.0;
        add_images(value, mine, from, distance, images, shares);
        sums[at] = value;
        own[at] = mine;
        return;
    }
    unsigned i = 0;
    while ((i + 1) * (i + 2) / 2 <= blockIdx.y) {
        ++i;
    }
    const unsigned j = blockIdx.y - i * (i + 1) / 2;
    const unsigned long long matrix = static_cast<unsigned long long>(group) * size * size;
    const unsigned long long below = matrix + i * size + j, above = matrix + j * size + i;
    float value = add ? into[below] : 0.0f, mine = again ? few[below] : 0.0f;
    add_images(value, mine, from, distance, images, shares);
    into[below] = value;
    into[above] = value;
    few[below] = mine;
    few[above] = mine;
}
