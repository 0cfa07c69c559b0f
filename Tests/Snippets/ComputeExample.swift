import Foundation
import Hummingbird
import SessionMesh
import SessionMeshHummingbird

/// Takes the CPU for seconds when `n` is large, and asks now and then whether anybody still waits.
@Sendable func fibonacci(_ n: Int, for context: ComputeContext) throws -> Int {
    if n < 25 { return n < 2 ? n : try fibonacci(n - 1, for: context) + fibonacci(n - 2, for: context) }
    try context.checkCancellation()
    return try fibonacci(n - 1, for: context) + fibonacci(n - 2, for: context)
}

let pool = try ComputePool()

let router = Router()
router.get("/") { _, _ in "here\n" }
router.get("/fibonacci/{n}") { _, context in
    let n = try context.parameters.require("n", as: Int.self)
    let number = try await pool.run(deadline: .now + .seconds(2)) { context in try fibonacci(n, for: context) }
    return "\(number)\n"
}

let port = Int(ProcessInfo.processInfo.environment["PORT"] ?? "") ?? 3000
let app = Application(router: router, configuration: .init(address: .hostname("127.0.0.1", port: port)), services: [pool])
try await app.runService()
