# Prints C++ with comments, and the contents of strings and character constants, removed; lines keep
# their numbers. Knows raw strings and digit separators.
BEGIN { state = "code" }
{
  out = ""
  n = length($0)
  for (i = 1; i <= n; ++i) {
    c = substr($0, i, 1)
    two = substr($0, i, 2)
    if (state == "comment") {
      if (two == "*/") { state = "code"; ++i }
    } else if (state == "raw") {
      if (substr($0, i, length(raw_end)) == raw_end) {
        state = "code"
        i += length(raw_end) - 1
        out = out "\""
      }
    } else if (state == "string" || state == "char") {
      if (c == "\\") ++i
      else if (c == (state == "string" ? "\"" : "'")) { state = "code"; out = out c }
    } else if (two == "//") {
      break
    } else if (two == "/*") {
      state = "comment"
      ++i
      out = out " "
    } else if (c == "\"" && substr($0, i - 1, 1) == "R") {
      open = index(substr($0, i), "(")
      raw_end = ")" substr($0, i + 1, open - 2) "\""
      state = "raw"
      i += open - 1
      out = out "\""
    } else if (c == "\"") {
      # The name of an included file is no string.
      if ($0 ~ /^[ \t]*#[ \t]*include/) { out = out substr($0, i); break }
      state = "string"
      out = out c
    } else if (c == "'" && substr($0, i - 1, 1) !~ /[0-9A-Fa-f]/) {
      state = "char"
      out = out c
    } else {
      out = out c
    }
  }
  # A string that goes on in the next line ends with a backslash; nothing else crosses a line.
  if ((state == "string" || state == "char") && substr($0, n, 1) != "\\") state = "code"
  print out
}
