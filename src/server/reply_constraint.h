// What a request demands of the form of its reply, as a grammar.
#pragma once

#include "grammar/token_constraint.h"
#include "grammar/token_trie.h"
#include "server/api_request.h"
#include "text/chat_types.h"

#include <memory>

namespace dsv4 {

// Nothing where any reply will do. `trie`: of the model's vocabulary; null where it has none.
// Throws Error with the path of a schema that cannot be enforced or of a choice without its tool,
// and Error(kUnsupported) where there is no trie.
std::shared_ptr<const TokenConstraint> reply_constraint(
    const ApiRequest& request, ThinkingMode mode, const std::shared_ptr<const TokenTrie>& trie);

}  // namespace dsv4
