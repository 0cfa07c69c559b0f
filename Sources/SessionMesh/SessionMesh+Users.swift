public import MeshCore

extension SessionMesh {
    /// The sessions bound to a user, wherever they are, without their contents: for a page that shows where somebody is logged in.
    ///
    /// Every node looks through what it holds, which takes milliseconds, and a fifth of a second where a node holds a million.
    /// - Parameter after: ``SessionPage/next`` of the page before.
    /// - Returns: up to 1000, in the order of their keys.
    /// - Throws: `.unavailable` when not every session could be looked at; nothing is shown as complete that isn't.
    public func sessions(of user: String, after: SessionKey? = nil) async throws(SessionError) -> SessionPage {
        guard case .listed(let page) = try await link.request(.list(user: user, after: after)) else { throw .unexpectedReply }
        return page
    }

    /// Ends all sessions of a user for good, as "log out everywhere" does.
    /// - Parameter except: one that goes on: that of whoever asks.
    /// - Returns: how many were ended, each at every node that held it. One that is bound to the user while this is under way may live on.
    /// - Throws: `.unavailable` when some could not be reached; those that could are ended. Ask again.
    @discardableResult
    public func endSessions(of user: String, except: SessionKey? = nil) async throws(SessionError) -> Int {
        try await revoke(user: user, except: except)
    }

    /// Ends all sessions of everybody for good, as is due when a secret was lost. Otherwise as ``endSessions(of:except:)``.
    @discardableResult
    public func endAllSessions(except: SessionKey? = nil) async throws(SessionError) -> Int {
        try await revoke(user: nil, except: except)
    }

    private func revoke(user: String?, except: SessionKey?) async throws(SessionError) -> Int {
        guard case .revoked(let count) = try await link.request(.revoke(user: user, except: except)) else { throw .unexpectedReply }
        return Int(clamping: count)
    }
}
