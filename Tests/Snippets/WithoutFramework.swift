import Foundation
import SessionMesh

let visits = SessionCounter("visits")
let theme = SessionField<String>("theme", codec: .text)
let configuration = try SessionMeshConfiguration(environment: ProcessInfo.processInfo.environment)
let mesh = SessionMesh(configuration: configuration)

/// A request's `Cookie` header goes in; the status, a `Set-Cookie` header if the browser needs one, and the body come out.
func answer(cookieHeader: String) async -> (status: Int, setCookie: String?, body: String) {
    do {
        var session = try await mesh.open(cookie: configuration.cookie.value(inCookieHeader: cookieHeader))
        session.increment(visits)
        if session[theme] == nil { session[theme] = "dark" }
        let outcome = try await mesh.commit(&session)
        return (200, outcome.setCookie?.description, "You were here \(outcome[visits] ?? 0) times.")
    } catch {
        // No Set-Cookie: the browser keeps its cookie, so an outage logs nobody out.
        return (error.isRetriable ? 503 : 500, nil, error.message)
    }
}

// Whatever server there is calls it. This one answers the Cookie headers that it reads from standard input, one a line.
let link = Task { try await mesh.run() }
while let line = readLine() {
    let (status, setCookie, body) = await answer(cookieHeader: line)
    print(status, setCookie ?? "-", body, separator: "\n")
}
link.cancel()
