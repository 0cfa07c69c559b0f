public import HTTPTypes
public import Hummingbird
import Logging
import NIOCore
import SessionMesh

/// Refuses what another site's page makes a visitor's browser send ("cross-site request forgery"). Add it behind ``SessionMiddleware``:
///
/// ```swift
/// let pages = router.group().add(middleware: SessionMiddleware(mesh)).add(middleware: CSRFMiddleware())
/// pages.get("/form") { _, context in
///     let token = try await context.csrfToken()
///     return html("<form method=post action=/order><input type=hidden name=csrf value=\(token)>...")
/// }
/// pages.post("/order") { ... }        // comes here only with the token
/// ```
///
/// GET, HEAD, OPTIONS and TRACE pass, for they change nothing. Every other request must come from an allowed origin, as the browser says in
/// `Sec-Fetch-Site` or `Origin`, and bring a token of its session in the header `X-CSRF-Token` or the form field `csrf`. Otherwise it is
/// answered with 403 and a line that says what to do, ``CSRFError``; the handler doesn't run.
///
/// The token is masked anew for each page, and ends when the session's id is regenerated. Pages that were open during a login must be
/// loaded again, or be given the new token.
public struct CSRFMiddleware<Context: SessionRequestContext>: RouterMiddleware {
    /// What a request that changes something must show.
    public enum Demand: Hashable, Sendable {
        /// An allowed origin and a token of its session.
        case token
        /// An allowed origin. Enough for browsers of this decade (all that send `Sec-Fetch-Site` or, older, `Origin` with every such
        /// request), and open to programs that are none. No session is made or asked for.
        case origin
    }

    private let demand: Demand
    private let origins: AllowedOrigins
    private let formBytesMax: Int

    /// - Parameters:
    ///   - origins: default: pages of the host that the request names.
    ///   - formBytesMax: bytes of a form that is searched for the token; it is held in memory meanwhile, and a longer one is answered with
    ///     413. Default 64 KiB. Whoever uploads more, or a form of several parts, sends the header.
    public init(_ demand: Demand = .token, origins: AllowedOrigins = .sameHost, formBytesMax: Int = 64 * 1024) {
        self.demand = demand
        self.origins = origins
        self.formBytesMax = formBytesMax
    }

    public func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        guard !Self.safeMethods.contains(request.method) else { return try await next(request, context) }
        var request = request
        do {
            // What needs neither the body nor the mesh comes first.
            guard origins.allows(request.head) else { throw CSRFError.foreignOrigin }
            if demand == .token {
                guard let token = try await token(of: &request) else { throw CSRFError.missing }
                guard try await context.session.load().accepts(csrfToken: token) else { throw CSRFError.wrong }
            }
        } catch let error as CSRFError {
            context.logger.debug("refused a request that another site may have caused", metadata: ["reason": "\(error)"])
            throw error
        }
        return try await next(request, context)
    }

    private static var safeMethods: Set<HTTPRequest.Method> { [.get, .head, .options, .trace] }

    private func token(of request: inout Request) async throws -> String? {
        if let name = HTTPField.Name("X-CSRF-Token"), let token = request.headers[name] { return token }
        let mediaType = request.headers[.contentType]?.prefix { $0 != ";" }.filter { $0 != " " }.lowercased()
        guard mediaType == "application/x-www-form-urlencoded" else { return nil }
        // Kept in the request, for the handler reads it too. A token has no character that a form would escape.
        let form = String(buffer: try await request.collectBody(upTo: formBytesMax))
        return form.split(separator: "&").first { $0.hasPrefix("csrf=") }.map { String($0.dropFirst(5)) }
    }
}

/// Why ``CSRFMiddleware`` answered 403.
public enum CSRFError: String, HTTPResponseError, Hashable {
    /// A page of another origin asked.
    case foreignOrigin
    /// There is no token.
    case missing
    /// The token is none of this session's: made up, of before a login, or the session has ended.
    case wrong

    public var status: HTTPResponse.Status { .forbidden }

    /// One line for a person: what is wrong and what to do.
    public var message: String {
        switch self {
        case .foreignOrigin:
            "A page of another site asked for this, so nothing was done. Ask from the application's own pages, or let it allow the origin."
        case .missing: "The token is missing, so nothing was done. Send it in the header X-CSRF-Token or in the form field csrf."
        case .wrong: "The token is not this session's, so nothing was done. Load the page again."
        }
    }

    public func response(from request: Request, context: some RequestContext) -> Response {
        Response(
            status: status, headers: [.contentType: "text/plain; charset=utf-8", .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: message + "\n")))
    }
}

extension SessionRequestContext {
    /// A token for a page of this visitor, as ``CSRFMiddleware`` asks for it: for a hidden field `csrf`, or for scripts to send as
    /// `X-CSRF-Token`. The first one of a session changes the session, so ask before the response begins.
    public func csrfToken() async throws -> String {
        try await session.update { $0.csrfToken() }
    }
}
