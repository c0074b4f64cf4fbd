// Requests and answers of HTTP as texts. For tests only.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "boost/beast/http/empty_body.hpp"
#include "boost/beast/http/parser.hpp"

#include "daemon/streaming/limits.h"
#include "daemon/streaming/upgrade.h"

namespace berth::streaming {

// A request's whole header, as the server reads it; none: it refuses it, or waits for more.
inline std::optional<HttpRequest> ParseRequest(std::string_view text) {
  boost::beast::http::request_parser<boost::beast::http::empty_body> parser;
  parser.header_limit(kMaxRequestHeaderBytes);
  boost::system::error_code error;
  parser.put(boost::asio::buffer(text.data(), text.size()), error);
  if (error || !parser.is_header_done()) {
    return std::nullopt;
  }
  return parser.release();
}

// Whether a client would take it for the header of an answer.
inline bool IsAnswerHeader(std::string_view text) {
  boost::beast::http::response_parser<boost::beast::http::empty_body> parser;
  boost::system::error_code error;
  parser.put(boost::asio::buffer(text.data(), text.size()), error);
  return parser.is_header_done();
}

}  // namespace berth::streaming
