#include "recipe/json_schema.h"

#include <algorithm>
#include <string>

#include <nlohmann/json.hpp>

#include "recipe/language.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kVariable = "\\$\\{vars\\.[^}]+\\}";
constexpr const char* kPercent = "^(0|[1-9][0-9]*)(\\.[0-9]+)?%$";

Json pattern(const std::string& text) { return {{"type", "string"}, {"pattern", text}}; }

Json any_of(std::initializer_list<Json> alternatives) {
  Json list = Json::array();
  for (const Json& alternative : alternatives) list.push_back(alternative);
  list.push_back(pattern(kVariable));  // what a variable gives is checked by edgecompress
  return {{"anyOf", list}};
}

Json number_above(const char* word, double low) { return {{"type", "number"}, {word, low}}; }

class SchemaWriter {
 public:
  Json definitions = Json::object();

  Json reference(const Shape& shape) {
    const std::string name(shape.path);
    if (!definitions.contains(name)) {
      definitions[name] = nullptr;  // keeps its place while its own parts are described
      definitions[name] = object(shape);
    }
    return {{"$ref", "#/definitions/" + name}};
  }

  Json object(const Shape& shape) {
    Json properties = Json::object();
    Json required = Json::array();
    for (const Field& field : shape.fields) add(field, properties, required);
    for (const MethodFields& method : shape.methods) {
      // which method has which key is said below
      for (const Field& field : method.fields) properties[std::string(field.key)] = Json::object();
    }
    Json out{{"type", "object"}, {"properties", properties}};
    if (!required.empty()) out["required"] = required;
    out["patternProperties"] = {{"^x-", Json::object()}};
    out["additionalProperties"] = false;
    for (const MethodFields& method : shape.methods) out["allOf"].push_back(rule(shape, method));
    return out;
  }

 private:
  void add(const Field& field, Json& properties, Json& required) {
    properties[std::string(field.key)] = value(field);
    // a file that extends another may leave out what the other has
    const bool inherited = field.key == "name" || field.key == "steps";
    if (field.presence == Presence::Required && !inherited) required.push_back(field.key);
  }

  Json rule(const Shape& shape, const MethodFields& method) {
    Json properties = Json::object();
    Json required = Json::array();
    for (const Field& field : method.fields) add(field, properties, required);
    for (const MethodFields& other : shape.methods) {
      for (const Field& field : other.fields) {
        if (!properties.contains(field.key)) properties[std::string(field.key)] = false;
      }
    }
    Json condition{{"properties", {{shape.selector, {{"const", method.name}}}}},
                   {"required", {shape.selector}}};
    Json then{{"properties", properties}};
    if (!required.empty()) then["required"] = required;
    return {{"if", condition}, {"then", then}};
  }

  static Json one_of(const Field& field) {
    Json choices = Json::array();
    for (const std::string_view choice : field.choices) {
      if (field.kind == FieldKind::Integer) {
        choices.push_back(*parse_integer(choice));
      } else {
        choices.push_back(choice);
      }
    }
    return {{"enum", choices}};
  }

  static Json text_or_texts() {
    return {{"anyOf",
             {{{"type", "string"}},
              {{"type", "array"}, {"items", {{"type", "string"}}}, {"minItems", 1}}}}};
  }

  static Json group_size() {
    Json sizes = Json::array();
    for (const std::int64_t size : kGroupSizes) sizes.push_back(size);
    sizes.push_back("channel");
    return any_of({{{"enum", sizes}}});
  }

  Json value(const Field& field) {
    switch (field.kind) {
      case FieldKind::SchemaId:
        return {{"const", kSchemaId}};
      case FieldKind::VersionBound:
        return any_of({pattern("^>=[0-9]+\\.[0-9]+(\\.[0-9]+)?$")});
      case FieldKind::Name:
        return any_of({pattern("^[a-z0-9._-]{1,64}$")});
      case FieldKind::Text:
        return {{"type", "string"}};
      case FieldKind::Path:
        return {{"type", "string"}, {"minLength", 1}};
      case FieldKind::Sha256:
        return any_of({pattern("^[0-9a-f]{64}$")});
      case FieldKind::Integer:
        if (!field.choices.empty()) return any_of({one_of(field)});
        return any_of({{{"type", "integer"}, {"minimum", field.low}, {"maximum", field.high}}});
      case FieldKind::Integers: {
        const Json one{{"type", "integer"}, {"minimum", field.low}, {"maximum", field.high}};
        return any_of({one, {{"type", "array"}, {"items", one}, {"minItems", 1}}});
      }
      case FieldKind::BlockHeads: {
        const Json one{{"type", "integer"}, {"minimum", field.low}, {"maximum", field.high}};
        const Json list = any_of({one, {{"type", "array"}, {"items", one}, {"minItems", 1}}});
        return {{"type", "object"},
                {"minProperties", 1},
                {"patternProperties", {{"^(0|[1-9][0-9]*)$", list}}},
                {"additionalProperties", false}};
      }
      case FieldKind::Share: {
        Json plain = number_above("exclusiveMinimum", 0);
        plain["exclusiveMaximum"] = 1;
        return any_of({plain, pattern(kPercent)});
      }
      case FieldKind::Boolean:
        return any_of({{{"type", "boolean"}}});
      case FieldKind::Increase:
        return any_of({number_above("minimum", 0), pattern(kPercent)});
      case FieldKind::Size:
        return any_of({number_above("exclusiveMinimum", 0),
                       pattern("^(0|[1-9][0-9]*)(\\.[0-9]+)?(KiB|MiB|GiB|KB|MB|GB)?$")});
      case FieldKind::Number:
        return any_of({number_above("exclusiveMinimum", 0)});
      case FieldKind::Choice:
        return any_of({one_of(field)});
      case FieldKind::GroupSize:
        return group_size();
      case FieldKind::MaskPattern:
        return any_of({pattern("^(unstructured|per-row|[1-9][0-9]*[:x][1-9][0-9]*)$")});
      case FieldKind::Texts:
      case FieldKind::Targets:
      case FieldKind::Bases:
        return text_or_texts();
      case FieldKind::Variables:
        return {{"type", "object"},
                {"additionalProperties", {{"type", {"string", "number", "boolean"}}}}};
      case FieldKind::Object:
        return reference(*field.shape);
      case FieldKind::Objects:
        return {{"type", "array"}, {"items", reference(*field.shape)}};
    }
    return {};
  }
};

}  // namespace

nlohmann::ordered_json recipe_json_schema() {
  SchemaWriter writer;
  Json out{{"$schema", "http://json-schema.org/draft-07/schema#"},
           {"$id", "edgecompress-recipe.v1.schema.json"},
           {"title", "edgecompress recipe"}};
  out.update(writer.object(kRecipeShape));
  out["definitions"] = writer.definitions;
  return out;
}

}  // namespace edgecompress
