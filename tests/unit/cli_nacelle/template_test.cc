// Templates of --format: what Go's text/template and Docker's functions would print.
#include "cli/nacelle/template.h"

#include <gtest/gtest.h>

#include <string>

namespace nacelle::cli {
namespace {

constexpr const char* document = R"({
  "Name": "/web", "Id": "abc", "Count": 3, "Ratio": 0.5, "On": true, "Off": false, "Empty": "",
  "None": null, "List": ["a", "b", "c"], "Nothing": [],
  "State": {"Status": "running", "Health": {"Status": "ok"}},
  "Map": {"z": "26", "a": "1"},
  "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "90/tcp": null},
  "Big": 18446744073709551615})";

std::string run(std::string_view text) {
  const Datum data = *Datum::parse(document);
  const Result<Template> parsed = Template::parse(text);
  if (!parsed) return parsed.error().message();
  const Result<std::string> out = parsed->execute(data);
  return out ? *out : out.error().message();
}

TEST(Template, prints_as_go_would) {
  const struct {
    const char *text, *printed;
  } cases[] = {
      {"plain", "plain"},
      {"{{.Name}} {{.Count}} {{.On}} {{.Ratio}}", "/web 3 true 0.5"},
      {"{{ .State.Health.Status }}", "ok"},
      {"{{.List}} {{.Map}} {{.Nothing}}", "[a b c] map[a:1 z:26] []"},
      {"{{.None}}", "<no value>"},
      {"{{.Big}}", "18446744073709551615"},
      {"{{json .List}} {{json .Map}} {{json .Name}}", R"(["a","b","c"] {"z":"26","a":"1"} "/web")"},
      {"{{.Map | json}}", R"({"z":"26","a":"1"})"},
      {"{{range .List}}[{{.}}]{{end}}", "[a][b][c]"},
      {"{{range $i, $v := .List}}{{$i}}={{$v}},{{end}}", "0=a,1=b,2=c,"},
      {"{{range $k, $v := .Map}}{{$k}}{{$v}} {{end}}", "a1 z26 "},
      {"{{range .Nothing}}x{{else}}none{{end}}", "none"},
      {"{{range .List}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac"},
      {"{{range .List}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"},
      {"{{range .List}}{{$.Id}}{{end}}", "abcabcabc"},
      {"{{if .On}}yes{{else}}no{{end}}", "yes"},
      {"{{if .Off}}a{{else if .Empty}}b{{else if .Count}}c{{else}}d{{end}}", "c"},
      {"{{if .Missing}}yes{{else}}no{{end}}", "no"},
      {"{{with .State}}{{.Status}}{{end}}", "running"},
      {"{{with .None}}x{{else}}nothing{{end}}", "nothing"},
      {"{{index .List 1}} {{index .Map \"z\"}}", "b 26"},
      {"{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"},
      {"{{index .Ports \"80/tcp\" 0 \"HostIp\"}}", "0.0.0.0"},
      {"{{len .List}} {{len .Name}} {{len .Map}}", "3 4 2"},
      {"{{join .List \", \"}}", "a, b, c"},
      {"{{split .Name \"e\"}}", "[/w b]"},
      {"{{upper .Id}} {{lower \"ABC\"}} {{title \"a bc d\"}}", "ABC abc A Bc D"},
      {"{{truncate .Name 2}} {{truncate .Name 20}}", "/w /web"},
      {"{{pad .Id 1 2}}|", " abc  |"},
      {"{{slice .Id 1}} {{slice .Id 0 2}} {{slice .List 1 3}}", "bc ab [b c]"},
      {"{{printf \"%s-%d-%05d-%-5s|%5s|%v|%q|%x|%.2f|%%\" .Id 7 42 \"a\" \"b\" .List .Id 255 "
       ".Ratio}}",
       "abc-7-00042-a    |    b|[a b c]|\"abc\"|ff|0.50|%"},
      {"{{println .Id .Count}}", "abc 3\n"},
      {"{{print 1 2 \"a\" 3}}", "1 2a3"},
      {"{{eq .Count 3}} {{ne .Id \"abc\"}} {{lt 1 2}} {{ge 2 2}} {{eq .Id \"x\" \"abc\"}}",
       "true false true true true"},
      {"{{and .On .Id}} {{or .Empty .Id}} {{not .On}}", "abc abc false"},
      {"{{$x := .Id}}{{$x}}{{$x = \"n\"}}{{$x}}", "abcn"},
      {"a {{- .Id -}} b", "aabcb"},
      {"a{{/* a comment */}}b", "ab"},
      {"{{\"}}\"}}{{`\\n`}}", "}}\\n"},
      {"{{html \"<a>\"}}", "&lt;a&gt;"},
      {"{{ .Name | printf \"%s!\" | upper }}", "/WEB!"},
      {"{{-3}} {{0x10}} {{'a'}}", "-3 16 97"},
  };
  for (const auto& [text, printed] : cases) EXPECT_EQ(run(text), printed) << text;
}

TEST(Template, names_that_are_not_there_are_errors) {
  EXPECT_NE(run("{{.Missing}}").find("map has no entry for key \"Missing\""), std::string::npos);
  EXPECT_NE(run("{{.State.Nope}}").find("map has no entry for key \"Nope\""), std::string::npos);
  EXPECT_NE(run("{{.Id.More}}").find("can't evaluate field More"), std::string::npos);
  EXPECT_NE(run("{{index .List 9}}").find("index out of range: 9"), std::string::npos);
  EXPECT_NE(run("{{$nobody}}").find("undefined variable"), std::string::npos);
  EXPECT_NE(run("{{len .Count}}").find("error calling len"), std::string::npos);
  EXPECT_NE(run("{{lt .Id 3}}").find("incompatible types"), std::string::npos);
  EXPECT_NE(run("{{slice .Id 7}}").find("out of range"), std::string::npos);
  EXPECT_NE(run("{{range .Id}}{{end}}").find("can't iterate"), std::string::npos);
  EXPECT_NE(run("{{.Id 3}}").find("can't give argument"), std::string::npos);
}

TEST(Template, what_is_no_template_is_refused) {
  for (const char* text : {"{{",
                           "{{.Id",
                           "{{}}",
                           "{{end}}",
                           "{{else}}",
                           "{{if}}x{{end}}",
                           "{{if .On}}",
                           "{{range .List}}",
                           "{{nonsense .Id}}",
                           "{{.Id | nonsense}}",
                           "{{(.Id}}",
                           "{{.Id)}}",
                           "{{\"open}}",
                           "{{'ab'}}",
                           "{{define \"x\"}}{{end}}",
                           "{{template \"x\"}}",
                           "{{break}}",
                           "{{1x}}",
                           "{{.Id |}}",
                           "{{|}}",
                           "{{/* open",
                           "{{if .On}}{{else}}{{else}}{{end}}",
                           "{{$}}{{end}}",
                           "{{\"\\q\"}}",
                           "{{1 2}}",
                           "{{.Id,}}"}) {
    EXPECT_FALSE(Template::parse(text)) << text;
  }
  std::string deep;
  for (int each = 0; each < 1000; ++each) deep += "{{if .On}}";
  EXPECT_FALSE(Template::parse(deep));
  EXPECT_FALSE(Template::parse("{{" + std::string(5000, '(') + "}}"));
}

TEST(Template, functions_leave_headings_as_they_are) {
  const Datum headings = *Datum::parse(R"({"Names":"NAMES","Ports":"PORTS"})");
  const Result<Template> parsed = Template::parse(
      "{{lower .Names}} {{join .Ports \",\"}} {{json .Names}} {{truncate .Names 2}}");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(*parsed->execute_heading(headings), "NAMES PORTS NAMES NAMES");
}

}  // namespace
}  // namespace nacelle::cli
