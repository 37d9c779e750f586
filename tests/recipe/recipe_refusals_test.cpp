#include <string>
#include <vector>

#include "base/error.h"
#include "recipe/recipe.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;

/// One way a recipe can be wrong.
struct Refusal {
  std::string text;
  std::string code;
  std::string place;               ///< line:col
  std::vector<std::string> words;  ///< of the message
};

std::string with_head(const std::string& rest) {
  return "schema: edgecompress.recipe/v1\nname: r\n" + rest;  // `rest` starts in line 3
}
const std::string kSteps = "steps: [{id: q, quantize: {method: rtn}}]\n";
std::string with_steps(const std::string& rest) { return with_head(kSteps + rest); }  // line 4
/// A recipe with a calibration text and one quantize step, in line 5.
std::string calibrated(const std::string& quantize) {
  return "schema: edgecompress.recipe/v1\nname: a\ncalibration: {text: c.txt}\nsteps:\n- {id: a, "
         "quantize: " +
         quantize + "}\n";
}

std::string quantize(const std::string& rest) {
  return with_head("steps:\n- id: q\n  quantize:\n    method: rtn\n" + rest);  // line 7
}
std::string mask(const std::string& rest) {
  return with_head("steps:\n- id: m\n  mask:\n    method: magnitude\n" + rest);  // line 7
}
std::string steps(const std::string& rest) { return with_head("steps:\n" + rest); }  // line 4

std::string nested(int depth) {
  return with_steps("x-deep: " + std::string(static_cast<std::size_t>(depth), '[') +
                    std::string(static_cast<std::size_t>(depth), ']') + "\n");
}

const std::vector<Refusal>& refusals() {
  static const std::vector<Refusal> table{
      // R2 syntax
      {with_steps("model: {model_type: llama\n"), "R2", "5:1", {"not YAML"}},
      {with_head("steps: [\"unclosed\n"), "R2", "4:1", {"not YAML"}},
      {with_steps("  seed: 1\n"), "R2", "4:3", {"not YAML"}},
      // R3 tabs
      {with_head("steps:\n\t- id: q\n"), "R3", "4:1", {"tab", "indent with spaces"}},
      {with_steps("seed:\t4\n"), "R3", "4:6", {"tab"}},
      // R4 documents
      {with_steps("---\nname: b\n"), "R4", "4:1", {"more than one document"}},
      // R5 duplicates
      {with_steps("seed: 1\nseed: 2\n"),
       "R5",
       "5:1",
       {"`seed`", "lines 4 and 5", "first in line 4"}},
      {with_steps("x-a:\n  b: 1\n  b: 2\n"), "R5", "6:3", {"`b`", "lines 5 and 6"}},
      {steps("- {id: a, quantize: {method: rtn}}\n- {id: a, export: {format: onnx}}\n"),
       "R5",
       "5:4",
       {"two steps have the id `a`", "lines 4 and 5"}},
      // R6 unknown keys
      {quantize("    weights:\n      group_siz: 128\n"),
       "R6",
       "8:7",
       {"unknown key `group_siz` in quantize.weights", "did you mean `group_size`?",
        "allowed here: bits, group_size, symmetric"}},
      {with_steps("sead: 1\n"),
       "R6",
       "4:1",
       {"unknown key `sead` at the top level", "did you mean `seed`?"}},
      {with_steps("extend: base.ec.yaml\n"),
       "R6",
       "4:1",
       {"unknown key `extend`", "did you mean `extends`?", "allowed here: schema, name"}},
      {with_steps("vars: [g]\n"), "R9", "4:7", {"vars must be a map"}},
      {steps("- id: q\n  quantise: {method: rtn}\n"),
       "R6",
       "5:3",
       {"`quantise` in steps", "did you mean `quantize`?"}},
      {mask("    pattern: \"2:4\"\n    target: \"*\"\n"), "R6", "8:5", {"did you mean `targets`?"}},
      {with_steps("\"\\e[31mred\": 1\n"), "R6", "4:1", {"`?[31mred`"}},
      // R7 misplaced keys
      {quantize("    group_size: 128\n"),
       "R7",
       "7:5",
       {"key `group_size` does not belong in quantize",
        "`group_size` belongs under `quantize.weights`"}},
      {with_steps("sequence_length: 4\n"),
       "R7",
       "4:1",
       {"does not belong at the top level", "under `calibration`"}},
      {mask("    pattern: \"2:4\"\n    clip: none\n"),
       "R7",
       "8:5",
       {"under `quantize` with method rtn"}},
      {with_head("calibration: {text: a, steps: []}\n" + kSteps),
       "R7",
       "3:24",
       {"belongs under the top level"}},
      // R8 schema and version
      {"name: r\n" + kSteps, "R8", "1:1", {"key `schema` is missing at the top level"}},
      {"schema: edgecompress.recipe/v2\nname: r\n" + kSteps,
       "R8",
       "1:9",
       {"`edgecompress.recipe/v1`", "newer edgecompress"}},
      {"schema: recipe\nname: r\n" + kSteps, "R8", "1:9", {"found `recipe`"}},
      {with_steps("requires: {edgecompress: \">=99.4\"}\n"),
       "R8",
       "4:26",
       {"needs edgecompress >=99.4", "this is 0."}},
      // R9 types
      {with_steps("seed: 010\n"),
       "R9",
       "4:7",
       {"seed must be an integer, found `010`", "no leading zeros"}},
      {with_steps("seed: 1_000\n"), "R9", "4:7", {"without `_`"}},
      {with_steps("seed: 12:30\n"), "R9", "4:7", {"found `12:30`"}},
      {with_steps("seed: 4.0\n"), "R9", "4:7", {"without a fraction"}},
      {with_steps("seed: \"4\"\n"), "R9", "4:7", {"remove the quotes"}},
      {with_steps("seed: +4\n"), "R9", "4:7", {"an integer"}},
      {with_steps("seed: 0x10\n"), "R9", "4:7", {"an integer"}},
      {with_steps("seed: 99999999999999999999\n"), "R9", "4:7", {"too many digits"}},
      {with_steps("seed:\n"), "R9", "5:1", {"found nothing", "give a value or delete the key"}},
      {with_steps("seed: [1]\n"), "R9", "4:7", {"found a list"}},
      {with_steps("seed: {a: 1}\n"), "R9", "4:7", {"found a map"}},
      {quantize("    weights: {symmetric: no}\n"), "R9", "7:26", {"true or false, found `no`"}},
      {quantize("    weights: {symmetric: on}\n"), "R9", "7:26", {"true or false, found `on`"}},
      {quantize("    weights: {symmetric: \"true\"}\n"), "R9", "7:26", {"remove the quotes"}},
      {quantize("    weights: {bits: \"4\"}\n"),
       "R9",
       "7:21",
       {"quantize.weights.bits must be an integer", "remove the quotes"}},
      {quantize("    weights: 4\n"),
       "R9",
       "7:14",
       {"quantize.weights must be a map", "found a single value"}},
      {quantize("    rules: {match: a}\n"), "R9", "7:12", {"quantize.rules must be a list", "- "}},
      {mask("    pattern: unstructured\n    sparsity: .nan\n"),
       "R9",
       "8:15",
       {"a share such as 20% or 0.2"}},
      {mask("    pattern: unstructured\n    sparsity: .inf\n"), "R9", "8:15", {"a share"}},
      {mask("    pattern: unstructured\n    sparsity: .5\n"), "R9", "8:15", {"a share"}},
      {mask("    pattern: unstructured\n    sparsity: \"0.5\"\n"),
       "R9",
       "8:15",
       {"remove the quotes"}},
      {mask("    pattern: unstructured\n    sparsity: 50 %\n"), "R9", "8:15", {"a share"}},
      {mask("    pattern: \"2:4\"\n    targets: {a: b}\n"),
       "R9",
       "8:14",
       {"a text or a list of texts"}},
      {"- a\n- b\n", "R9", "1:1", {"a recipe must be a map", "found a list"}},
      {"", "R9", "1:1", {"a recipe must be a map", "found nothing"}},
      {"recipes/w4.ec.yaml", "R9", "1:1", {"a recipe must be a map", "found a single value"}},
      {steps("- quantize\n"), "R9", "4:3", {"steps must be a map"}},
      {with_head("steps: {id: a}\n"), "R9", "3:8", {"steps must be a list"}},
      {with_steps("calibration: {text: c.txt, sha256: 12ab}\n"),
       "R9",
       "4:36",
       {"64 lower-case hexadecimal digits"}},
      {with_steps("requires: {edgecompress: \"0.1\"}\n"), "R9", "4:26", {"a lower bound such as"}},
      {with_steps("description: \"a\\0b\"\n"), "R9", "4:14", {"without control characters"}},
      {with_steps("calibration: {text: \"a\\nb\"}\n"),
       "R9",
       "4:21",
       {"without control characters"}},
      // R10 ranges
      {quantize("    weights: {bits: 5}\n"), "R10", "7:21", {"one of 4, 8, found `5`"}},
      {quantize("    weights: {group_size: 100}\n"),
       "R10",
       "7:27",
       {"one of 32, 64, 128, 256 or `channel`"}},
      {quantize("    weights: {group_size: -1}\n"), "R10", "7:27", {"found `-1`"}},
      {mask("    pattern: unstructured\n    sparsity: 1.2\n"),
       "R10",
       "8:15",
       {"more than 0% and less than 100%", "did you mean 1.2%?"}},
      {mask("    pattern: unstructured\n    sparsity: 20\n"), "R10", "8:15", {"did you mean 20%?"}},
      {mask("    pattern: unstructured\n    sparsity: 0%\n"), "R10", "8:15", {"more than 0%"}},
      {mask("    pattern: unstructured\n    sparsity: 100%\n"), "R10", "8:15", {"less than 100%"}},
      {mask("    pattern: unstructured\n    sparsity: -10%\n"), "R10", "8:15", {"more than 0%"}},
      {mask("    pattern: \"4:4\"\n"),
       "R10",
       "7:14",
       {"mask.pattern must be unstructured, per-row, N:M"}},
      {mask("    pattern: 1x1\n    sparsity: 10%\n"), "R10", "7:14", {"RxC", "found `1x1`"}},
      {mask("    pattern: 512x1\n    sparsity: 10%\n"), "R10", "7:14", {"found `512x1`"}},
      {mask("    pattern: \"2:128\"\n"), "R10", "7:14", {"found `2:128`"}},
      {mask("    pattern: \"2:4\"\n    targets: []\n"),
       "R10",
       "8:14",
       {"must not be an empty list"}},
      {steps("- id: p\n  prune: {score: magnitud-l1, ratio: 20%}\n"),
       "R10",
       "5:18",
       {"one of magnitude-l1, magnitude-l2, activation", "did you mean `magnitude-l1`?"}},
      {steps("- id: p\n  prune: {score: magnitude-l1, ratio: 20%, channel_multiple: 0}\n"),
       "R10",
       "5:62",
       {"from 1 to 4096"}},
      {steps("- id: e\n  export: {format: gguf}\n"),
       "R10",
       "5:20",
       {"one of genai, onnx, genai-sparse, onnx-sparse"}},
      {steps("- id: e\n  export: {format: onnx, sparse_from: 20%}\n"),
       "R17",
       "5:26",
       {"sparse_from with the dense format onnx", "onnx-sparse"}},
      {steps("- id: e\n  export: {format: genai-sparse, scale_bits: 8}\n"),
       "R10",
       "5:46",
       {"one of 16, 32"}},
      {steps("- id: e\n  export: {format: onnx, accuracy_level: 0}\n"),
       "R17",
       "5:26",
       {"accuracy_level with the format onnx", "only genai formats"}},
      {steps("- id: e\n  export: {format: genai, accuracy_level: 5}\n"),
       "R10",
       "5:43",
       {"one of 0, 1, 2, 3, 4"}},
      {with_steps("seed: -1\n"), "R10", "4:7", {"from 0 to 9007199254740991"}},
      {"schema: edgecompress.recipe/v1\nname: My Recipe\n" + kSteps,
       "R10",
       "2:7",
       {"a-z 0-9 . _ -"}},
      {with_steps("evaluate: {text: \"\"}\n"), "R10", "4:18", {"the path of a file"}},
      {with_steps("evaluate: {text: e.txt, protocol: wikitext}\n"), "R10", "4:35", {"gptq-2048"}},
      {with_steps("model: {model_type: \"\"}\n"), "R10", "4:21", {"not empty"}},
      {with_steps("description: " + std::string(5000, 'd') + "\n"),
       "R10",
       "4:14",
       {"at most 4096 bytes, found 5000"}},
      // R11 YAML that is left out
      {with_steps("x-a: &a 1\n"), "R11", "4:6", {"anchors"}},
      {with_steps("x-a: &a 1\nx-b: *a\n"), "R11", "4:6", {"anchors", "aliases", "5:6"}},
      {with_steps("x-a: {<<: {b: 1}}\n"), "R11", "4:7", {"merge keys"}},
      {with_steps("x-a: !!python/object:os.system 1\n"),
       "R11",
       "4:6",
       {"tags (tag:yaml.org,2002:python/object:os.system)"}},
      {with_steps("x-a: !!str 1\n"), "R11", "4:6", {"tags"}},
      {with_steps("x-a: ! 1\n"), "R11", "4:6", {"tags"}},
      {with_steps("x-a: !local [1]\n"), "R11", "4:6", {"tags (!local)"}},
      {with_steps("? [a, b]\n: 1\n"), "R11", "4:3", {"a key must be text"}},
      {with_steps("? {a: b}\n: 1\n"), "R11", "4:3", {"a key must be text"}},
      {with_steps("~: 1\n"), "R11", "4:1", {"a key must be text"}},
      {"%YAML 1.2\n---\n" + with_steps(""), "R11", "1:1", {"directives"}},
      // R12 bytes and sizes
      {"\xEF\xBB\xBF" + with_steps(""), "R12", "1:1", {"byte order mark"}},
      {with_steps("description: a\xC3(\n"), "R12", "4:15", {"not valid UTF-8"}},
      {with_steps("description: \xED\xA0\x80\n"), "R12", "4:14", {"not valid UTF-8"}},
      {with_steps("description: \xC0\x80\n"), "R12", "4:14", {"not valid UTF-8"}},
      {with_steps(std::string("description: a\0b\n", 17)), "R12", "4:15", {"NUL"}},
      {with_steps("description: a\x1B[2J\n"), "R12", "4:15", {"control character"}},
      {with_steps("seed: 1\rname: x\n"), "R12", "4:8", {"carriage return"}},
      {with_steps("# " + std::string(1 << 20, 'c') + "\n"), "R12", "1:1", {"at most 1048576"}},
      {nested(16), "R12", "4:24", {"nested deeper than 16"}},
      {nested(100'000), "R12", "4:24", {"nested deeper than 16"}},
      // R14 nothing to do
      {with_head("steps: []\n"), "R14", "3:1", {"no steps"}},
      {with_head("steps:\n"), "R14", "3:1", {"no steps"}},
      {with_head("seed: 1\n"), "R14", "1:1", {"key `steps` is missing"}},
      // R16 patterns
      {mask("    pattern: \"2:4\"\n    targets: \"re:(\"\n"),
       "R16",
       "8:14",
       {"not a regular expression", "parenthes"}},
      {mask("    pattern: \"2:4\"\n    targets: [\"*\", \"a{b\"]\n"), "R16", "8:20", {"must pair"}},
      {mask("    pattern: \"2:4\"\n    targets: \".*\\\\.mlp\"\n"), "R16", "8:14", {"write re:"}},
      {mask("    pattern: \"2:4\"\n    targets: \"\"\n"), "R16", "8:14", {"it is empty"}},
      {mask("    pattern: \"2:4\"\n    except: \"" + std::string(1001, 'a') + "\"\n"),
       "R16",
       "8:13",
       {"longer than 1000"}},
      {mask(
           "    pattern: \"2:4\"\n    except: \"{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}\"\n"),
       "R16",
       "8:13",
       {"at most 256"}},
      {mask("    pattern: \"2:4\"\n    except: \"re:" + std::string(60, '(') +
            std::string(60, ')') + "\"\n"),
       "R16",
       "8:13",
       {"nested"}},
      // R17 contradictions
      {steps("- {id: a, quantize: {method: rtn}}\n- {id: b, quantize: {method: rtn}}\n"),
       "R17",
       "5:11",
       {"a second quantize step"}},
      {steps("- {id: a, quantize: {method: rtn}}\n- {id: b, prune: {score: magnitude-l2, ratio: "
             "10%}}\n"),
       "R17",
       "5:11",
       {"prune after quantize", "quantize must come after prune and mask"}},
      {steps("- {id: a, quantize: {method: rtn}}\n- {id: b, mask: {method: magnitude, pattern: "
             "2:4}}\n"),
       "R17",
       "5:11",
       {"mask after quantize"}},
      {steps("- {id: a, mask: {method: magnitude, pattern: 2:4}}\n- {id: b, prune: {score: "
             "magnitude-l2, ratio: 10%}}\n"),
       "R17",
       "5:11",
       {"prune after mask"}},
      {steps("- {id: a, export: {format: onnx}}\n- {id: b, quantize: {method: rtn}}\n"),
       "R17",
       "5:11",
       {"quantize after export", "last step"}},
      {steps("- {id: a, export: {format: onnx}}\n- {id: b, export: {format: genai}}\n"),
       "R17",
       "5:11",
       {"a second export"}},
      {steps("- id: a\n  quantize: {method: rtn}\n  export: {format: onnx}\n"),
       "R17",
       "6:3",
       {"one action, found quantize and export"}},
      {steps("- {id: a, prune: {score: magnitude-l2, ratio: 10%, heads: 25%}}\n"),
       "R17",
       "4:40",
       {"ratio beside heads, query_heads, channels or heads_to_prune"}},
      {steps("- {id: a, prune: {score: magnitude-l2, target: flops, channels: 25%}}\n"),
       "R17",
       "4:40",
       {"target beside heads, query_heads, channels or heads_to_prune"}},
      {steps("- {id: a, prune: {score: magnitude-l2}}\n"),
       "R23",
       "4:19",
       {"key `ratio` is missing in prune", "`query_heads` and `channels`"}},
      {steps("- {id: a, drop_layers: {layers: [1, 1]}}\n"), "R17", "4:25", {"named twice"}},
      {steps("- {id: a, drop_layers: {layers: 1, score: perplexity}}\n"),
       "R17",
       "4:36",
       {"score beside layers"}},
      {calibrated("{method: rtn, target_size: 9MB, target_bpw: 4.5}"),
       "R17",
       "5:35",
       {"target_size beside target_bpw"}},
      {calibrated("{method: rtn, target_bpw: 4.5, precision: outer-8bit}"),
       "R17",
       "5:35",
       {"target_bpw beside precision: outer-8bit"}},
      {calibrated("{method: rtn, target_bpw: 4.5, weights: {group_size: 32}}"),
       "R17",
       "5:35",
       {"target_bpw beside weights.group_size", "the grids are chosen"}},
      {steps("- {id: a, quantize: {method: rtn, target_bpw: 4.5}}\n"),
       "R17",
       "4:35",
       {"target_bpw without calibration text"}},
      {"schema: edgecompress.recipe/v1\nname: a\ncalibration: {text: c.txt}\nsteps:\n"
       "- {id: a, drop_layers: {layers: 1}}\n"
       "- {id: b, quantize: {method: rtn, target_size: 9MB}}\n",
       "R17",
       "6:35",
       {"target_size behind drop_layers, prune or mask", "as it is read"}},
      {calibrated("{method: rtn, target_size: small}"), "R9", "5:48", {"4GiB"}},
      {calibrated("{method: rtn, precision: outer-8bit, head: {bits: 4, group_size: 32}}"),
       "R17",
       "5:35",
       {"precision: outer-8bit beside a head of 4 bits"}},
      {calibrated("{method: rtn, head: {rounding: gptq}}"),
       "R17",
       "5:42",
       {"head.rounding: gptq beside method: rtn"}},
      {calibrated("{method: gptq, head: {skip: true, rounding: gptq}}"),
       "R17",
       "5:55",
       {"rounding beside skip: true"}},
      {steps("- {id: a, drop_layers: {layers: [1], count: 1}}\n"),
       "R17",
       "4:11",
       {"either count or layers"}},
      {steps("- {id: a, drop_layers: {count: 1}}\n"),
       "R17",
       "4:25",
       {"count is decided on calibration text"}},
      {steps("- {id: a, drop_layers: {layers: [1, x]}}\n"), "R9", "4:37", {"must be an integer"}},
      {steps("- {id: a, prune: {score: magnitude-l2, ratio: 10%}}\n"
             "- {id: b, drop_layers: {layers: 1}}\n"),
       "R17",
       "5:11",
       {"drop_layers after prune or mask"}},
      {steps("- {id: a, prune: {score: magnitude-l2, ratio: 10%, protect_last: 1}}\n"),
       "R17",
       "4:52",
       {"protect_last without allocation: per-layer"}},
      {steps("- {id: a, prune: {score: magnitude-l2, ratio: 10%, allocation: per-layer}}\n"),
       "R17",
       "4:52",
       {"allocation is decided on calibration text"}},
      {steps("- {id: a, mask: {method: magnitude, pattern: 16x1, sparsity: 10%, spread: 5%}}\n"),
       "R17",
       "4:67",
       {"spread without allocation: outliers"}},
      {steps("- {id: a, mask: {method: magnitude, pattern: 2:4, allocation: loss}}\n"),
       "R17",
       "4:51",
       {"allocation is decided on calibration text", "allocation: loss beside an N:M pattern"}},
      {steps("- {id: a, mask: {method: magnitude, pattern: 2:4, repair_epochs: 2}}\n"),
       "R17",
       "4:51",
       {"repair_epochs without repair: reconstruction"}},
      {with_head("calibration: {text: c}\nsteps:\n- {id: a, mask: {method: magnitude, pattern: "
                 "2:4, repair: with-rounding}}\n- {id: q, quantize: {method: rtn}}\n"),
       "R17",
       "5:51",
       {"repair: with-rounding without gptq right behind the mask", "least-squares"}},
      {with_head("calibration: {text: c}\nsteps:\n- {id: a, mask: {method: magnitude, pattern: "
                 "2:4, repair: with-rounding}}\n"),
       "R17",
       "5:51",
       {"repair: with-rounding without gptq right behind the mask"}},
      {steps("- {id: a, prune: {score: magnitude-l2, ratio: 10%, target: byte}}\n"),
       "R10",
       "4:60",
       {"did you mean `bytes`"}},
      {quantize("    sensitivity: kl\n"), "R17", "7:5", {"sensitivity where no grid is chosen"}},
      {steps("- {id: a, recover: {text: t, phases: blok}}\n"),
       "R10",
       "4:38",
       {"did you mean `blocks`"}},
      {with_head("calibration: {text: c}\nsteps:\n- {id: q, quantize: {method: rtn, qat: always, "
                 "qat_phases: bot}}\n"),
       "R10",
       "5:60",
       {"both"}},
      {steps("- {id: a, prune: {score: activation, ratio: 10%}}\n"),
       "R17",
       "4:26",
       {"score `activation` needs calibration text"}},
      {steps("- {id: a, mask: {method: wanda, pattern: 2:4}}\n"),
       "R17",
       "4:26",
       {"method `wanda` needs calibration text"}},
      {mask("    pattern: \"2:4\"\n    sparsity: 50%\n"),
       "R17",
       "8:5",
       {"already says the sparsity"}},
      {quantize("    head: {skip: true, bits: 8}\n"), "R17", "7:24", {"bits beside skip: true"}},
      {quantize("    rules: [{match: a, skip: true, weights: {bits: 8}}]\n"),
       "R17",
       "7:24",
       {"both skip: true and weights"}},
      {steps("- {id: a, recover: {epochs: 2}}\n"), "R17", "4:11", {"training needs a text"}},
      {quantize("    qat: auto\n"), "R17", "7:5", {"training needs a text"}},
      {quantize("    qat_phases: both\n"),
       "R17",
       "7:5",
       {"qat_phases where it changes nothing", "qat: always"}},
      {quantize("    qat_activations: none\n"),
       "R17",
       "7:5",
       {"qat_activations where it changes nothing", "qat: always"}},
      {steps("- {id: a, recover: {text: t, block_epochs: 2}}\n"),
       "R17",
       "4:30",
       {"block_epochs where it changes nothing", "phases: blocks"}},
      {steps("- {id: a, recover: {text: t, phases: blocks, epochs: 2}}\n"),
       "R17",
       "4:46",
       {"epochs where it changes nothing", "not trained as a whole"}},
      {steps("- {id: a, recover: {text: t}}\n- {id: b, quantize: {method: rtn}}\n"),
       "R17",
       "5:11",
       {"quantize after recover", "last before export"}},
      {steps("- {id: a, recover: {text: t}}\n- {id: b, recover: {text: t}}\n"),
       "R17",
       "5:11",
       {"a second recover"}},
      // R20 gates that nothing measures, and their limits
      {with_steps("gates: [{metric: perplexity, max_increase: 1%}]\n"),
       "R20",
       "4:18",
       {"perplexity_increase", "needs a text"}},
      {with_steps("gates: [{metric: speedup, min: 1.5}]\n"), "R20", "4:18", {"an export step"}},
      {with_steps("gates: [{metric: size, max: 4 GiB}]\n"), "R9", "4:29", {"4GiB"}},
      {with_steps("gates: [{metric: size, min: 4GiB}]\n"),
       "R23",
       "4:9",
       {"key `max` is", "key `min` does not"}},
      {with_steps("gates: [{metric: size}]\n"), "R23", "4:9", {"key `max` is missing"}},
      {with_steps("gates: [{metric: sparsity, min: 120%}]\n"), "R10", "4:33", {"100%"}},
      {steps("- {id: a, export: {format: onnx}}\ngates: [{metric: speedup, min: 120%}]\n"),
       "R9",
       "5:32",
       {"such as 1.5"}},
      {with_steps("gates: [{metric: perplexty, max: 1}]\n"), "R10", "4:18", {"`perplexity`"}},
      {with_steps("gates: [{metric: size, max: 1KB}, {metric: size, max: 2KB}]\n"),
       "R5",
       "4:44",
       {"two gates on one metric"}},
      // R22 host facts
      {with_steps("calibration: {text: /data/c.txt}\n"),
       "R22",
       "4:21",
       {"relative to the recipe", "absolute"}},
      {with_steps("calibration: {text: ~/c.txt}\n"), "R22", "4:21", {"relative to the recipe"}},
      {with_steps("calibration: {text: 'C:\\c.txt'}\n"), "R22", "4:21", {"relative to the recipe"}},
      {with_steps("evaluate: {text: \"https://example.org/e.txt\"}\n"), "R22", "4:18", {"URLs"}},
      // R23 missing
      {"schema: edgecompress.recipe/v1\n" + kSteps, "R23", "1:1", {"key `name` is missing"}},
      {steps("- quantize: {method: rtn}\n"), "R23", "4:3", {"key `id` is missing in steps"}},
      {steps("- id: a\n"),
       "R23",
       "4:3",
       {"one of drop_layers, prune, mask, quantize, recover, export"}},
      {steps("- {id: a, quantize: {clip: none}}\n"),
       "R23",
       "4:21",
       {"key `method` is missing in quantize"}},
      {mask("    pattern: per-row\n"), "R23", "7:5", {"`sparsity` is missing"}},
      {quantize("    rules: [{match: a}]\n"), "R23", "7:13", {"weights or skip: true"}},
      {with_steps("calibration: {samples: 4}\n"),
       "R23",
       "4:14",
       {"key `text` is missing in calibration"}},
  };
  return table;
}

TEST_CASE("every wrong recipe is refused with its code, place and words", "[recipe][lies]") {
  for (const Refusal& refusal : refusals()) {
    INFO(refusal.text.substr(0, 400));
    try {
      parse_recipe(refusal.text, "wrong.ec.yaml");
      CHECK(false);  // it was accepted
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::Usage);
      CHECK(error.code() == refusal.code);
      const std::string text = error.what();
      CHECK_THAT(text, Contains("--> wrong.ec.yaml:" + refusal.place + "\n"));
      for (const std::string& word : refusal.words) CHECK_THAT(text, Contains(word));
    }
  }
}

TEST_CASE("an error shows the line, a caret and what is allowed", "[recipe]") {
  try {
    parse_recipe(quantize("    weights:\n      bits: 4\n      group_siz: 128\n"), "w4.ec.yaml");
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(std::string(error.what()) ==
          "unknown key `group_siz` in quantize.weights\n"
          " --> w4.ec.yaml:9:7\n"
          "  |\n"
          "8 |       bits: 4\n"
          "9 |       group_siz: 128\n"
          "  |       ^^^^^^^^^ did you mean `group_size`?\n"
          "  = allowed here: bits, group_size, symmetric");
  }
}

TEST_CASE("columns count characters, not bytes", "[recipe]") {
  try {
    parse_recipe(with_steps("x-\xC3\xA9\xE2\x82\xAC: 1\nmodel: {x-\xC3\xA9: 1, modeltype: a}\n"),
                 "w.ec.yaml");
    FAIL("no error");
  } catch (const Error& error) {
    CHECK_THAT(error.what(), Contains("--> w.ec.yaml:5:17\n"));
    CHECK_THAT(error.what(),
               Contains("\n  |                 ^^^^^^^^^ did you mean `model_type`?"));
  }
}

TEST_CASE("all problems of a recipe are told at once, in the file's order", "[recipe]") {
  try {
    parse_recipe(with_steps("sed: 1\nmodel: {model_typ: a}\nevaluate: {text: /e}\n"), "w.ec.yaml");
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == "R6");
    const std::string text = error.what();
    CHECK(text.starts_with("unknown key `sed`"));
    const std::size_t second = text.find("\nerror[R6]: unknown key `model_typ`");
    const std::size_t third = text.find("\nerror[R22]: evaluate.text must be");
    REQUIRE(second != std::string::npos);
    REQUIRE(third != std::string::npos);
    CHECK(second < third);
    CHECK(text.ends_with("\n3 errors"));
  }
}

TEST_CASE("at most twenty problems are shown and all are counted", "[recipe]") {
  std::string text;
  for (int i = 0; i < 25; ++i) text += "wrong" + std::to_string(i) + ": 1\n";
  try {
    parse_recipe(with_steps(text), "w.ec.yaml");
    FAIL("no error");
  } catch (const Error& error) {
    const std::string shown = error.what();
    CHECK_THAT(shown, Contains("`wrong19`") && !Contains("`wrong20`"));
    CHECK(shown.ends_with("\n25 errors, the first 20 are shown"));
  }
}

TEST_CASE("a very long line is shown in part", "[recipe]") {
  try {
    parse_recipe(with_steps("x-a: [" + std::string(5000, 'a') + ", &b 1]\n"), "w.ec.yaml");
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == "R11");
    CHECK(std::string(error.what()).size() < 1000);
    CHECK_THAT(error.what(), Contains("a, &b 1]"));
  }
}

}  // namespace
}  // namespace edgecompress
