import NIOCore
import NIOPosix

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Asks the parent process to kill a node: one line with its name, into a FIFO or a Unix socket.
struct KillSwitch: Sendable {
    let path: String

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    func pull(_ name: String) async throws {
        var status = stat()
        guard stat(path, &status) == 0 else { throw Failure(description: "\(path) does not exist") }
        let line = Array("\(name)\n".utf8)
        if status.st_mode & S_IFMT == S_IFSOCK {
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connectTimeout(.seconds(1))
                .connect(unixDomainSocketPath: path).get()
            try await channel.writeAndFlush(ByteBuffer(bytes: line)).get()
            try? await channel.close()
        } else {
            // Not blocking: without a reader the call fails at once, and one line always fits into the pipe or fails whole.
            let descriptor = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)
            guard descriptor >= 0 else { throw Failure(description: "\(path) has no reader") }
            defer { close(descriptor) }
            guard write(descriptor, line, line.count) == line.count else { throw Failure(description: "\(path) is full") }
        }
    }
}
