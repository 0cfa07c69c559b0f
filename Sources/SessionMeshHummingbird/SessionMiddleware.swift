import HTTPTypes
public import Hummingbird
import Logging
import NIOHTTP1
public import SessionMesh

/// Gives every request the visitor's session, as ``SessionRequestContext/session``.
///
/// Nothing is asked of the mesh until a handler reads or changes the session. What it changed is committed before the response's head is
/// sent, and the cookie is added when it is new. When the mesh can't answer, the visitor gets 503 with `Retry-After: 1` and keeps the
/// cookie: an outage never logs anybody out. A commit to a session that was destroyed meanwhile is answered with 409; it is not brought
/// back, and the cookie is left alone, for by then the browser may have a newer one. Only ``Session/destroy()`` takes a cookie away.
///
/// What a handler throws is answered here, because what it committed before still needs its cookie: an `HTTPResponseError` as it says, any
/// other error with 500, and logged. So a middleware that makes answers of errors belongs behind this one.
///
/// A streamed body runs after the commit, so it can read the session but no longer change it.
public struct SessionMiddleware<Context: SessionRequestContext>: RouterMiddleware {
    private let mesh: SessionMesh

    public init(_ mesh: SessionMesh) {
        self.mesh = mesh
    }

    public func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        defer { mesh.requestServed() }
        let session = RequestSession(mesh: mesh, request: request.head)
        var context = context
        context.sessionStorage.session = session
        var response: Response
        do {
            response = try await next(request, context)
            try await session.finish()
        } catch let error as HTTPParserError {
            // The server's own: there is no request that could be answered.
            throw error
        } catch {
            response = Self.response(to: error, request, context)
        }
        if let setCookie = await session.setCookie {
            response.headers.append(HTTPField(name: .setCookie, value: setCookie.description))
            // A cache must not hand one visitor's cookie to the next.
            if response.headers[.cacheControl] == nil { response.headers[.cacheControl] = "private" }
        }
        return response
    }

    private static func response(to error: any Error, _ request: Request, _ context: Context) -> Response {
        if let error = error as? SessionError, let answer = answer(to: error) { return answer }
        do {
            if let error = error as? any HTTPResponseError { return try error.response(from: request, context: context) }
            throw error
        } catch {
            // What Hummingbird would make of it.
            context.logger.error("the handler failed", metadata: ["error": "\(error)"])
            return Response(status: .internalServerError)
        }
    }

    /// Nil when neither the visitor nor a later try can do anything about it.
    private static func answer(to error: SessionError) -> Response? {
        switch error.code {
        case .notFound: plain(.conflict, "Your session has ended meanwhile. Load the page again.\n")
        case .conflict: plain(.conflict, "Your session was changed meanwhile. Load the page again.\n")
        case .unavailable, .contended, .full, .overloaded, .shutdown, .interrupted:
            plain(.serviceUnavailable, "Your session can't be reached just now. Try again in a second.\n", [.retryAfter: "1"])
        default: nil
        }
    }

    private static func plain(_ status: HTTPResponse.Status, _ text: String, _ headers: HTTPFields = [:]) -> Response {
        var headers = headers
        headers[.contentType] = "text/plain; charset=utf-8"
        headers[.cacheControl] = "no-store"
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}

/// A context that carries the visitor's session through the middleware.
///
/// ```swift
/// struct ShopContext: SessionRequestContext {
///     var coreContext: CoreRequestContextStorage
///     var sessionStorage = SessionStorage()
///     init(source: Source) { coreContext = .init(source: source) }
/// }
/// ```
public protocol SessionRequestContext: RequestContext {
    var sessionStorage: SessionStorage { get set }
}

extension SessionRequestContext {
    /// The visitor's session. Without ``SessionMiddleware`` in front, everything it is asked throws.
    public var session: RequestSession { sessionStorage.session ?? RequestSession() }
}

public struct SessionStorage: Sendable {
    var session: RequestSession?

    public init() {}
}

/// One request's session: loaded when it is first needed, committed once at the end or when the handler says so.
public actor RequestSession {
    private let mesh: SessionMesh?
    private let cookie: String?
    private let isSecure: Bool
    private var session: Session?
    private var phase = Phase.open
    /// What the response must carry.
    private(set) var setCookie: SetCookie?

    private enum Phase {
        /// Can transition to committing, finished.
        case open
        /// A commit is under way; a change now would be lost. Can transition to open.
        case committing
        /// The response has begun. Final.
        case finished
    }

    init() {
        mesh = nil
        cookie = nil
        isSecure = false
    }

    init(mesh: SessionMesh, request: HTTPRequest) {
        let policy = mesh.configuration.cookie
        self.mesh = mesh
        cookie = policy.value(in: request)
        isSecure = policy.isSecure(request)
    }

    /// The session as this request has it now.
    public func load() async throws(SessionError) -> Session {
        if let session { return session }
        let opened = try await linked().open(cookie: cookie)
        // Another task of this request may have been faster, and may have changed it already.
        if let session { return session }
        session = opened
        return opened
    }

    /// Changes the session. The change is sent with the next commit.
    /// - Throws: what `body` throws; `.invalid` during a commit and once the response has begun; `.unavailable` when the session can't be
    ///   loaded.
    public func update<Result: Sendable>(_ body: @Sendable (inout Session) throws -> Result) async throws -> Result {
        var session = try await load()
        // No suspension between here and the assignment, so that no other task's change is overwritten.
        if let latest = self.session { session = latest }
        try checkThatItMayChange()
        let result = try body(&session)
        self.session = session
        return result
    }

    /// Commits now rather than at the end of the request, for a handler that needs the outcome: a counter's value, for one.
    @discardableResult
    public func commit() async throws(SessionError) -> CommitOutcome {
        guard case .open = phase else { throw SessionError(.invalid, "the session is being committed by another task of this request") }
        guard var session else { return CommitOutcome() }
        phase = .committing
        defer { phase = .open }
        let outcome = try await linked().commit(&session, isSecure: isSecure)
        self.session = session
        if let cookie = outcome.setCookie { setCookie = cookie }
        return outcome
    }

    /// Changes a field by what it is, so that no other request's change is lost, and commits; see `SessionMesh.update`.
    /// - Parameter body: run again when another request came between, so it should do nothing else.
    public func update<Value, Result: Sendable>(
        _ field: SessionField<Value>, _ body: @Sendable (inout Value?) throws -> Result
    ) async throws -> Result {
        try await exclusively { mesh, session, isSecure in try await mesh.update(&session, field, isSecure: isSecure, body) }
    }

    /// Takes a field away and gives its value to one caller only, and commits; see `SessionMesh.consume`.
    public func consume<Value>(_ field: SessionField<Value>) async throws -> Value? {
        try await exclusively { mesh, session, isSecure in try await mesh.consume(&session, field, isSecure: isSecure) }
    }

    /// Lets nothing else change the session until `body` has committed it.
    private func exclusively<Result: Sendable>(
        _ body: @Sendable (SessionMesh, inout Session, Bool) async throws -> (Result, CommitOutcome)
    ) async throws -> Result {
        var session = try await load()
        // No suspension between here and the change of phase, so that no other task's change is overwritten.
        if let latest = self.session { session = latest }
        try checkThatItMayChange()
        phase = .committing
        // After an error too: it may have a change whose outcome isn't known.
        defer {
            phase = .open
            self.session = session
        }
        let (result, outcome) = try await body(linked(), &session, isSecure)
        if let cookie = outcome.setCookie { setCookie = cookie }
        return result
    }

    private func checkThatItMayChange() throws(SessionError) {
        switch phase {
        case .open: break
        case .committing:
            throw SessionError(.invalid, "the session is being committed by another task of this request; change it before or after")
        case .finished: throw SessionError(.invalid, "the response has begun; change the session before it is returned")
        }
    }

    func finish() async throws(SessionError) {
        try await commit()
        phase = .finished
    }

    private func linked() throws(SessionError) -> SessionMesh {
        guard let mesh else { throw SessionError(.invalid, "this route has no session; add SessionMiddleware to its router") }
        return mesh
    }
}

extension SessionCookie {
    /// The session's cookie value in a request; nil when there is none.
    public func value(in request: HTTPRequest) -> String? {
        value(inCookieHeaders: request.headerFields[values: .cookie])
    }

    /// Whether the cookie of a request's answer is to be `Secure`.
    public func isSecure(_ request: HTTPRequest) -> Bool {
        isSecure(forwardedProto: HTTPField.Name("X-Forwarded-Proto").flatMap { request.headerFields[$0] })
    }
}

extension SessionMesh {
    /// The session of a request that no middleware saw: a WebSocket's, before it is upgraded.
    public func open(of request: HTTPRequest) async throws(SessionError) -> Session {
        try await open(cookie: configuration.cookie.value(in: request))
    }
}
