import Hummingbird
import LabTools
import NIOCore
import NIOPosix
import SessionMesh

/// A Hummingbird server with one page that costs nothing, and the same work in three places.
struct WorkServer {
    private let pool: ComputePool

    init(_ arguments: ArraySlice<String>) throws {
        var configuration = ComputePoolConfiguration()
        var rest = arguments
        while let flag = rest.popFirst(), let value = rest.popFirst() {
            if flag == "--threads" { configuration.threads = Int(value) ?? 0 }
            if flag == "--priority" { configuration.priority = value == "idle" ? .idle : .normal }
        }
        pool = try ComputePool(configuration: configuration)
    }

    /// Prints the port once it listens.
    func run() async throws {
        let router = Router()
        router.get("/") { _, _ in "here\n" }
        router.get("/pool/{n}") { [pool] _, context in
            let n = try context.parameters.require("n", as: Int.self)
            return "\(try await pool.run { fibonacci(n) })\n"
        }
        router.get("/handler/{n}") { _, context in
            "\(fibonacci(try context.parameters.require("n", as: Int.self)))\n"
        }
        router.get("/loop/{n}") { _, context in
            let n = try context.parameters.require("n", as: Int.self)
            return "\(try await MultiThreadedEventLoopGroup.singleton.next().submit { fibonacci(n) }.get())\n"
        }
        let app = Application(
            router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)), services: [pool],
            onServerRunning: { channel in Say.result("port \(channel.localAddress?.port ?? 0)") })
        try await app.runService()
    }
}

/// Work that is nothing but CPU, and can't be left out.
@inline(never)
private func fibonacci(_ n: Int) -> Int { n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2) }
