// A few C functions over ik_llama.cpp's llama.h, so that a Python adapter depends on none of its structures.
// Built by setup.sh against a clone of the user's; see README.md.
#include "llama.h"

#include <algorithm>
#include <cstdint>
#include <vector>

struct Engine {
    llama_model * model;
    llama_context * context;
    llama_batch batch;
    int32_t vocab;
};

extern "C" {

void ik_close(Engine * engine);

// Its best settings for one text: weights repacked at load, q, k and v merged, gate and up not fused; NULL on failure.
// `rows`: most rows of a forward. `wide_cache`: keys and values in float32, else in float16.
Engine * ik_open(const char * path, int threads, int context, int flash, int rows, int wide_cache) {
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    llama_model_params of_model = llama_model_default_params();
    of_model.n_gpu_layers = 0;
    of_model.repack_tensors = true;
    of_model.use_mmap = false;
    of_model.merge_qkv = true;
    of_model.flash_attn = flash != 0;
    Engine * engine = new Engine{};
    engine->batch = llama_batch_init(rows, 0, 1);
    engine->model = llama_model_load_from_file(path, of_model);
    if (engine->model == nullptr) {
        ik_close(engine);
        return nullptr;
    }
    llama_context_params of_context = llama_context_default_params();
    of_context.n_ctx = context;
    of_context.n_batch = rows;
    of_context.n_ubatch = rows;
    of_context.n_threads = threads;
    of_context.n_threads_batch = threads;
    of_context.flash_attn = flash != 0;
    of_context.fused_up_gate = false;
    of_context.graph_reuse = true;
    if (wide_cache) of_context.type_k = of_context.type_v = GGML_TYPE_F32;
    engine->context = llama_init_from_model(engine->model, of_context);
    if (engine->context == nullptr) {
        ik_close(engine);
        return nullptr;
    }
    engine->vocab = llama_n_vocab(engine->model);
    return engine;
}

void ik_close(Engine * engine) {
    llama_batch_free(engine->batch);
    if (engine->context != nullptr) llama_free(engine->context);
    if (engine->model != nullptr) llama_free_model(engine->model);
    delete engine;
}

int ik_vocab(const Engine * engine) { return engine->vocab; }

const char * ik_system() { return llama_print_system_info(); }

// Forgets everything from a position on.
void ik_keep(Engine * engine, int position) { llama_kv_cache_seq_rm(engine->context, 0, position, -1); }

// Computes `count` tokens from `position` on; the best token of each row that has logits goes to `best`: of all rows if
// `all`, else of the last one. Returns 0 or llama_decode's error.
int ik_forward(Engine * engine, const int32_t * tokens, int count, int position, int all, int32_t * best) {
    llama_batch & batch = engine->batch;
    batch.n_tokens = count;
    for (int i = 0; i < count; i++) {
        batch.token[i] = tokens[i];
        batch.pos[i] = position + i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = all || i == count - 1;
    }
    if (const int error = llama_decode(engine->context, batch)) return error;
    for (int i = all ? 0 : count - 1; i < count; i++) {
        const float * row = llama_get_logits_ith(engine->context, i);
        float most = row[0];
#pragma omp simd reduction(max : most)
        for (int32_t j = 0; j < engine->vocab; j++) most = std::max(most, row[j]);
        *best++ = static_cast<int32_t>(std::find(row, row + engine->vocab, most) - row);
    }
    return 0;
}

// Logits of a row of the last forward.
const float * ik_logits(Engine * engine, int row) { return llama_get_logits_ith(engine->context, row); }

}
