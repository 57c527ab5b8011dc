// Classifies pictures on several threads: workers MODEL.bnn PICTURE...
//
// All threads share the model, each has a session of its own, and they take the next picture from a
// common counter. Answers are printed in the order of the pictures.

#include <bnn.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Free {
    void operator()(bnn_model *model) const { bnn_model_free(model); }
    void operator()(bnn_session *session) const { bnn_session_free(session); }
};
using Model = std::unique_ptr<bnn_model, Free>;
using Session = std::unique_ptr<bnn_session, Free>;

// Errors become exceptions on this side of the interface.
void check(bnn_status status)
{
    if (status != BNN_STATUS_OK) {
        throw std::runtime_error(bnn_last_error_message());
    }
}

Model open_model(const char *path)
{
    bnn_model *model = nullptr;
    check(bnn_model_open(path, &model));
    return Model(model);
}

Session make_session(const bnn_model *model)
{
    bnn_session *session = nullptr;
    check(bnn_session_new(model, nullptr, &session));
    return Session(session);
}

std::string classify(bnn_session *session, const char *path)
{
    bnn_prediction best{};
    std::size_t count = 0;
    check(bnn_session_classify_file(session, path, &best, 1, &count));
    return best.label != nullptr ? best.label : "class " + std::to_string(best.index);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc < 3) {
        std::fprintf(stderr, "usage: workers MODEL.bnn PICTURE...\n");
        return 2;
    }
    try {
        const Model model = open_model(argv[1]);
        const std::vector<const char *> pictures(argv + 2, argv + argc);
        std::vector<std::string> answers(pictures.size());
        std::atomic<std::size_t> next{0};
        std::atomic<bool> failed{false};

        const auto work = [&] {
            try {
                const Session session = make_session(model.get());
                for (std::size_t at = next++; at < pictures.size(); at = next++) {
                    answers[at] = classify(session.get(), pictures[at]);
                }
            } catch (const std::exception &error) {
                std::fprintf(stderr, "workers: %s\n", error.what());
                failed = true;
            }
        };
        std::vector<std::thread> threads;
        for (int number = 0; number < 4; number++) {
            threads.emplace_back(work);
        }
        for (std::thread &thread : threads) {
            thread.join();
        }
        for (std::size_t at = 0; at < pictures.size(); at++) {
            std::printf("%s: %s\n", pictures[at], answers[at].c_str());
        }
        return failed ? 1 : 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "workers: %s\n", error.what());
        return 1;
    }
}
