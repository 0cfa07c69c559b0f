/// How an attempt at an instance failed before its answer was passed on.
enum AttemptFailure {
    case connect, connectTimeout
    /// It closed, or reset, before a byte of answer.
    case reset
    /// Nothing for as long as a response head may take.
    case timeout
    /// What it sent is not HTTP.
    case protocolError
    /// A 101 that nobody asked for, or without the proof that the handshake was understood.
    case upgrade

    var isConnecting: Bool { self == .connect || self == .connectTimeout }

    /// The instance did not take the connection, or dropped a new one at once.
    var isRefusal: Bool { isConnecting || self == .reset }

    /// Somebody else may be asked, if the retry policy agrees. A wrong answer is an answer, and who waited for a minute has waited enough.
    var mayBeRepeated: Bool { isRefusal }

    /// What the client is told when nobody else is asked.
    var status: Int {
        switch self {
        case .connect, .connectTimeout: 503
        case .timeout: 504
        case .reset, .protocolError, .upgrade: 502
        }
    }

    var error: OwnError {
        switch self {
        case .connect, .connectTimeout: .destinationUnavailable
        case .reset: .connectionTerminated
        case .timeout: .responseTimeout
        case .protocolError: .protocolError
        case .upgrade: .upgradeFailed
        }
    }
}
