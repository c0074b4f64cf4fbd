#include "daemon/streaming/token_table.h"

#include <set>

#include "gtest/gtest.h"

#include "daemon/streaming/limits.h"

namespace berth::streaming {
namespace {

class TokenTableTest : public testing::Test {
 protected:
  std::string Add(std::string container = "c1") {
    auto token = table_.Add(AttachRequest{std::move(container), {}});
    EXPECT_TRUE(token.ok()) << token.status();
    return token.ok() ? *token : "";
  }

  TokenTable::Clock::time_point now_{};
  TokenTable table_{[this] { return now_; }};
};

TEST_F(TokenTableTest, ATokenIsGoodOnceAndBringsItsRequest) {
  const std::string first = Add("c1");
  const std::string second = Add("c2");
  const auto request = table_.Take(second);
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(std::get<AttachRequest>(*request).container_id, "c2");
  EXPECT_FALSE(table_.Take(second).has_value());
  EXPECT_TRUE(table_.Take(first).has_value());
}

TEST_F(TokenTableTest, TokensAre128BitsAndDiffer) {
  std::set<std::string> tokens;
  for (int i = 0; i < 500; ++i) {
    const std::string token = Add();
    EXPECT_EQ(token.size(), 32u);
    EXPECT_EQ(token.find_first_not_of("0123456789abcdef"), std::string::npos);
    tokens.insert(token);
  }
  EXPECT_EQ(tokens.size(), 500u);
}

TEST_F(TokenTableTest, OtherTokensAreUnknown) {
  const std::string token = Add();
  for (const std::string& other :
       {std::string(), token.substr(1), token + "0", "x" + token.substr(1), std::string(32, '0'),
        std::string(100000, 'a')}) {
    EXPECT_FALSE(table_.Take(other).has_value());
  }
  EXPECT_TRUE(table_.Take(token).has_value());
}

TEST_F(TokenTableTest, AMinuteIsItsLife) {
  const std::string token = Add();
  now_ += kTokenLifetime - std::chrono::seconds(1);
  const std::string later = Add();
  now_ += std::chrono::seconds(1);
  EXPECT_FALSE(table_.Take(token).has_value());
  EXPECT_TRUE(table_.Take(later).has_value());
}

TEST_F(TokenTableTest, ThereAreSoManyAndNoMoreUntilOneIsUsedOrOld) {
  std::string token;
  for (size_t i = 0; i < kMaxTokens; ++i) {
    token = Add();
  }
  EXPECT_EQ(table_.Add(AttachRequest{}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(table_.Take(token).has_value());
  Add();
  EXPECT_FALSE(table_.Add(AttachRequest{}).ok());
  now_ += kTokenLifetime;
  Add();
}

}  // namespace
}  // namespace berth::streaming
