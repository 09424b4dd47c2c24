# Debian packages: `cpack -G DEB -B FOLDER` in the build folder, once `millrace`, `millrace_local` and
# `millrace_core` are built. What stands outside of /usr belongs to the package alone, so a plain
# `cmake --install` leaves it out.
#
#     millrace             the server, its unit, configuration, user, manual and completion
#     libmillrace-local    the client library for shared memory, with headers and the Python module
#     libmillrace-core-dev the queues, the bus and the disruptor, for other programs
install(FILES "${PROJECT_SOURCE_DIR}/deploy/millrace.json" DESTINATION /etc/millrace
  COMPONENT package EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME millrace)
set(CPACK_PACKAGE_VENDOR "Millrace")
set(CPACK_PACKAGE_CONTACT "The maintainers of Millrace <maintainers@millrace.invalid>")
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL server package local core)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_SERVER_PACKAGE_NAME millrace)
set(CPACK_DEBIAN_SERVER_PACKAGE_SECTION net)
set(CPACK_COMPONENT_SERVER_DESCRIPTION "MQTT proxy server for the newest value
Serves MQTT 3.1, 3.1.1 and 5.0 over TCP, TLS and WebSocket. A reader that cannot keep up gets the newest
value of each topic; processes of the same host read from shared memory.")
set(CPACK_DEBIAN_SERVER_PACKAGE_DEPENDS "passwd, init-system-helpers")
set(CPACK_DEBIAN_SERVER_PACKAGE_SUGGESTS "prometheus, mosquitto-clients")
set(CPACK_DEBIAN_SERVER_PACKAGE_CONTROL_EXTRA
  "${PROJECT_SOURCE_DIR}/deploy/debian/conffiles"
  "${PROJECT_SOURCE_DIR}/deploy/debian/postinst"
  "${PROJECT_SOURCE_DIR}/deploy/debian/prerm"
  "${PROJECT_SOURCE_DIR}/deploy/debian/postrm")

set(CPACK_DEBIAN_LOCAL_PACKAGE_NAME libmillrace-local)
set(CPACK_DEBIAN_LOCAL_PACKAGE_SECTION libs)
set(CPACK_COMPONENT_LOCAL_DESCRIPTION "client library for Millrace's shared memory
Reads every message of a Millrace server on the same host, and publishes to it, without a system call per
message: from C++, C and Python.")

set(CPACK_DEBIAN_CORE_PACKAGE_NAME libmillrace-core-dev)
set(CPACK_DEBIAN_CORE_PACKAGE_SECTION libdevel)
set(CPACK_COMPONENT_CORE_DESCRIPTION "Millrace's queues, bus and disruptor as libraries
Headers and a static library in C++20: an elastic queue, latest-only slots, a ring with a graph of consumers.")

include(CPack)
# The server's package is made of two components.
cpack_add_component_group(server)
cpack_add_component_group(local)
cpack_add_component_group(core)
cpack_add_component(server GROUP server)
cpack_add_component(package GROUP server)
cpack_add_component(local GROUP local)
cpack_add_component(core GROUP core)
