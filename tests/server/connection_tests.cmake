# What the ways in and out promise: threads, transports, connections, the writer.
millrace_test(server_writer_test SOURCES writer_test.cpp LINK millrace_server)
millrace_test(server_delivery_mode_test SOURCES delivery_mode_test.cpp LINK millrace_server)
millrace_test(server_io_thread_test
  SOURCES io_thread_test.cpp poller_test.cpp worker_test.cpp LINK millrace_server)
millrace_test(server_connection_test
  SOURCES connection_test.cpp LINK millrace_server)
