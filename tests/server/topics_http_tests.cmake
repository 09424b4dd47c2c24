#What topics over HTTP promise.
millrace_test(server_topics_http_test SOURCES topics_http_test.cpp topics_http_wait_test.cpp LINK
                  millrace_server)
