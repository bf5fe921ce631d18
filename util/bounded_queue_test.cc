#include "util/bounded_queue.h"

#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;

TEST(BoundedQueueTest, ItemsComeOutInOrderAndCloseLetsThemOut) {
  BoundedQueue<std::unique_ptr<int>> queue(2);
  std::thread producer([&queue] {
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(queue.Push(std::make_unique<int>(i)));
    queue.Close();
  });
  int expected = 0;
  while (std::optional<std::unique_ptr<int>> item = queue.Pop()) EXPECT_EQ(**item, expected++);
  producer.join();
  EXPECT_EQ(expected, 100);
  EXPECT_FALSE(queue.Push(nullptr));
}

TEST(BoundedQueueTest, APushWaitsForRoomAndCancelEndsTheWait) {
  BoundedQueue<int> queue(1);
  ASSERT_TRUE(queue.Push(1));
  absl::Notification refused;
  std::thread producer([&] {
    EXPECT_FALSE(queue.Push(2));
    refused.Notify();
  });
  EXPECT_FALSE(refused.HasBeenNotified());
  queue.Cancel();
  refused.WaitForNotification();
  producer.join();
  EXPECT_EQ(queue.Pop(), std::nullopt);
}

TEST(BoundedQueueTest, CloseEndsTheWaitForAnItem) {
  BoundedQueue<int> queue(1);
  std::vector<int> taken;
  std::thread consumer([&] {
    while (const std::optional<int> item = queue.Pop()) taken.push_back(*item);
  });
  ASSERT_TRUE(queue.Push(7));
  queue.Close();
  consumer.join();
  EXPECT_THAT(taken, ElementsAre(7));
}

}  // namespace
}  // namespace kvp
