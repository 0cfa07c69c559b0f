import MeshCore

/// One request and its answer, as the client's side sees it. Lives inside its connection, so that a request costs no allocation.
struct Exchange {
    var method: HTTPMethod = .other
    var isHTTP11 = true
    /// The connection stays open after the answer, as far as the client is concerned.
    var isPersistent = true
    var hasIdempotencyKey = false
    /// The session's slot; nil for a visitor bound to nobody.
    var slot: Slot?
    /// What remains to come of the request's body.
    var requestBody = BodyTracker(.none)
    /// The characters that must come back in a 101; empty when a tunnel was asked for without a proper key. Nil when none was asked for.
    var webSocketAccept: [UInt8]?

    var upstream: UpstreamConnection?
    /// What was sent so far, head and body, for another try; given up when it is too large, or a byte of the answer came.
    var replay: ByteBuffer?
    var isReplayable = true
    var tried = RequestRouter.Tried()
    var retries = 0
    /// Of the node that has it: 0 is the primary's, or a new visitor's.
    var rank = 0
    /// Nobody takes the rest of the request's body.
    var hasAbandonedBody = false
    /// A byte of the answer was passed on: there is no way back.
    var isAnswerBegun = false
    var startedAt: Int64 = 0
    var interimAnswers = 0
}
