import Foundation
import Hummingbird
import SessionMesh
import SessionMeshHummingbird

struct CounterContext: SessionRequestContext {
    var coreContext: CoreRequestContextStorage
    var sessionStorage = SessionStorage()
    init(source: Source) { coreContext = .init(source: source) }
}

let visits = SessionCounter("visits")
let environment = ProcessInfo.processInfo.environment
let mesh = SessionMesh(configuration: try SessionMeshConfiguration(environment: environment))

let router = Router(context: CounterContext.self)
router.add(middleware: SessionMiddleware(mesh))
router.get("/") { _, context in
    try await context.session.update { $0.increment(visits) }
    let outcome = try await context.session.commit()
    return "You were here \(outcome[visits] ?? 0) times.\n"
}

let port = Int(environment["PORT"] ?? "") ?? 3000
let app = Application(
    router: router, configuration: .init(address: .hostname("127.0.0.1", port: port)), services: [mesh])
try await app.runService()
