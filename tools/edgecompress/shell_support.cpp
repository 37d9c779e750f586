#include "edgecompress/shell_support.h"

#include <vector>

#include "base/error.h"
#include "base/version.h"

namespace edgecompress::cli {
namespace {

/// A command and the words that lead to it: "recipe check".
struct CommandPath {
  std::string words;
  const CLI::App* app;
};

void collect(const CLI::App& app, const std::string& words, std::vector<CommandPath>& out) {
  out.push_back({words, &app});
  for (const CLI::App* command : app.get_subcommands({})) {
    collect(*command, words.empty() ? command->get_name() : words + " " + command->get_name(), out);
  }
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

/// What may follow a command: its commands, or its flags.
std::vector<std::string> words_after(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::App* command : app.get_subcommands({})) words.push_back(command->get_name());
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  }
  return words;
}

std::string bash_script(const std::vector<CommandPath>& commands) {
  std::string out =
      "_edgecompress() {\n"
      "  local word=\"${COMP_WORDS[COMP_CWORD]}\" path=\"\" i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case \"${COMP_WORDS[i]}\" in -*) break ;; esac\n"
      "    case \"$path\" in \"\" | recipe) path=\"${path:+$path }${COMP_WORDS[i]}\" ;; esac\n"
      "  done\n"
      "  case \"$path\" in\n";
  for (const CommandPath& command : commands) {
    out += concat("    \"", command.words, "\") COMPREPLY=($(compgen -W \"",
                  joined(words_after(*command.app)), "\" -- \"$word\")) ;;\n");
  }
  return out +
         "    *) COMPREPLY=() ;;\n"
         "  esac\n"
         "}\n"
         "complete -o default -F _edgecompress edgecompress\n";
}

/// Text in single quotes as fish reads it.
std::string fish_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish_script(const std::vector<CommandPath>& commands) {
  std::string out;
  for (const CommandPath& command : commands) {
    const std::string last = command.words.substr(command.words.rfind(' ') + 1);
    const std::string seen = command.words.empty() ? std::string("__fish_use_subcommand")
                                                   : "__fish_seen_subcommand_from " + last;
    for (const CLI::App* next : command.app->get_subcommands({})) {
      out += concat("complete -c edgecompress -n '", seen, "' -a ", next->get_name(), " -d ",
                    fish_quoted(next->get_description()), "\n");
    }
    for (const CLI::Option* option : command.app->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        out += concat("complete -c edgecompress -n '", seen, "' -l ", name, " -d ",
                      fish_quoted(option->get_description()), "\n");
      }
    }
  }
  return out;
}

/// Text in which roff finds no request and no escape.
std::string roff_text(const std::string& text) {
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
    line_start = c == '\n';
  }
  return out;
}

}  // namespace

std::string completion_script(const CLI::App& app, const std::string& shell) {
  std::vector<CommandPath> commands;
  collect(app, "", commands);
  if (shell == "fish") return fish_script(commands);
  if (shell == "bash") return bash_script(commands);
  return "#compdef edgecompress\nautoload -U +X bashcompinit && bashcompinit\n" +
         bash_script(commands);
}

std::string manual_page(const CLI::App& app, const CLI::App& command) {
  const bool whole = &app == &command;
  const std::string name = whole ? "edgecompress" : "edgecompress-" + command.get_name();
  return concat(".TH ", roff_text(name), " 1 \"\" \"edgecompress ", kVersion, "\"\n.SH NAME\n",
                roff_text(name), " \\- ", roff_text(command.get_description()),
                "\n.SH DESCRIPTION\n.nf\n", roff_text(command.help()), ".fi\n");
}

}  // namespace edgecompress::cli
