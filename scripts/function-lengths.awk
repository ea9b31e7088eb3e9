# Reads the output of strip-code.awk for one file and prints "file:line: message" for each function
# of more than max lines. A function's body is a "{" outside of functions whose statement so far has
# a parameter list and is no declaration of a namespace or type and no initialiser. A lambda or
# local type counts as a part of the function around it.
# Variables: file, max.
function is_function(text) {
  if (text !~ /\)/) return 0
  if (text ~ /(^|[^A-Za-z0-9_])(namespace|enum)[^A-Za-z0-9_]/) return 0
  if (text ~ /^[ \t]*(template[^{}]*>)?[ \t]*(class|struct|union)[ \t]/) return 0
  if (text ~ /=[ \t]*$/ || text ~ /[^=!<>]=[^=]*$/) return text ~ /operator[^(]*=[^(]*\(/
  return 1
}
BEGIN { depth = 0; inside = 0; text = "" }
/^[ \t]*#/ { continued = ($0 ~ /\\$/); next }
continued { continued = ($0 ~ /\\$/); next }
{
  n = length($0)
  for (i = 1; i <= n; ++i) {
    c = substr($0, i, 1)
    if (c == "{") {
      ++depth
      if (!inside && is_function(text)) { inside = depth; first = start }
      text = ""
    } else if (c == "}") {
      if (depth == inside && inside) {
        inside = 0
        if (NR - first + 1 > max) {
          printf "%s:%d: function of %d lines, at most %d are allowed\n", file, first, \
                 NR - first + 1, max
        }
      }
      --depth
      text = ""
    } else if (c == ";" || (c == ":" && text ~ /^(public|protected|private)$/)) {
      text = ""
    } else if (!inside) {
      if (text == "" && c ~ /[ \t]/) continue
      if (text == "") start = NR
      text = text c
    }
  }
  if (text != "") text = text " "
}
