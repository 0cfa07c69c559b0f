public import Hummingbird
import NIOCore
public import SessionMesh

/// What a handler answers that lets a pool's error through: 503, for the server has more to do than it can, or is about to stop. A visitor
/// whose work was not begun is asked to come back.
extension ComputePoolError: HTTPResponseError {
    public var status: HTTPResponse.Status {
        switch code {
        case .notStarted, .stopped, .full, .expired, .cancelled: .serviceUnavailable
        default: .internalServerError
        }
    }

    public func response(from request: Request, context: some RequestContext) -> Response {
        guard status == .serviceUnavailable else { return Response(status: status) }
        var headers: HTTPFields = [.contentType: "text/plain; charset=utf-8", .cacheControl: "no-store"]
        if isRetriable { headers[.retryAfter] = "1" }
        let text = isRetriable ? "The server is busy just now. Try again in a second.\n" : "This was not done in time.\n"
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}
