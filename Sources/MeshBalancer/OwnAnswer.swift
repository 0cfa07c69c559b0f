/// Why the balancer answers by itself, in the words of RFC 9209 (Proxy-Status).
enum OwnError: String {
    case requestError = "http_request_error"
    case requestTimeout = "http_request_timeout"
    case destinationUnavailable = "destination_unavailable"
    case connectionTerminated = "connection_terminated"
    case responseIncomplete = "http_response_incomplete"
    case protocolError = "http_protocol_error"
    case responseTimeout = "http_response_timeout"
    case upgradeFailed = "http_upgrade_failed"
}

/// An answer that no instance gave. Short, and the same every time, so that monitors can rely on it.
enum OwnAnswer {
    static func bytes(status: Int, error: OwnError, closes: Bool, withBody: Bool) -> [UInt8] {
        let reason = reason(of: status)
        let body = "\(status) \(reason)\n"
        var text = "HTTP/1.1 \(status) \(reason)\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: \(body.utf8.count)\r\n"
        text += "Cache-Control: no-store\r\nProxy-Status: sessionmesh; error=\(error.rawValue)\r\n"
        if status == 503 { text += "Retry-After: 1\r\n" }
        if status == 405 { text += "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, QUERY\r\n" }
        if closes { text += "Connection: close\r\n" }
        text += "\r\n"
        if withBody { text += body }
        return Array(text.utf8)
    }

    private static func reason(of status: Int) -> String {
        switch status {
        case 400: "Bad Request"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 414: "URI Too Long"
        case 417: "Expectation Failed"
        case 431: "Request Header Fields Too Large"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        default: "Error"
        }
    }
}
