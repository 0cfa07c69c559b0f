/// A cookie value taken apart, and nothing of it proven: `id.key.signature`.
///
/// 43 characters of base64url for the 32-byte id, the key's number in decimal, and 43 characters for HMAC-SHA256 over `id.key`. Each value
/// has exactly one text.
public struct CookieValue: Sendable {
    public let id: SessionID
    /// The number of the key that is said to have signed it.
    public let keyNumber: UInt16
    let signature: [UInt8]
    /// What the signature is of.
    let signed: ArraySlice<UInt8>

    public static let bytesMax = 2 * digestLetters + 2 + digitsMax
    /// 32 bytes in base64url: the id, and the signature.
    private static let digestLetters = 43
    /// A number of 16 bits.
    private static let digitsMax = 5

    /// Nil for what is no cookie value. What is too long is not looked at.
    public init?(parsing value: some Collection<UInt8>) {
        let idEnd = Self.digestLetters
        let numberEnd = value.count - Self.digestLetters - 1
        guard value.count <= Self.bytesMax, numberEnd > idEnd + 1 else { return nil }
        let value = Array(value)
        guard value[idEnd] == UInt8(ascii: "."), value[numberEnd] == UInt8(ascii: "."),
            let number = Self.number(value[(idEnd + 1)..<numberEnd]),
            let id = Base64URL.decode(value[..<idEnd]).flatMap(SessionID.init(bytes:)),
            let signature = Base64URL.decode(value[(numberEnd + 1)...])
        else { return nil }
        self.id = id
        keyNumber = number
        self.signature = signature
        signed = value[..<numberEnd]
    }

    /// Decimal, without sign or leading zeros.
    private static func number(_ digits: ArraySlice<UInt8>) -> UInt16? {
        guard digits.first != UInt8(ascii: "0"), digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
            return nil
        }
        return UInt16(String(decoding: digits, as: UTF8.self))
    }
}

/// Why a cookie opens no session. None of these passes by itself: the visitor starts a new session, and asking again can't help.
public enum SessionAbsence: String, Hashable, Sendable, CaseIterable {
    /// It is no cookie value of any mesh: cut, lengthened, mistyped, or of another program.
    case malformed
    /// It names a key that this agent's key file doesn't hold: one that was taken out, or one of another mesh.
    case unknownKey
    /// It names a key that is known, and that key didn't sign it: forged, damaged, or of another mesh that gave the number too.
    case badSignature
    /// It is ours, and there is no such session any more: it expired, was destroyed, moved to another id, or died with all who held it.
    case ended
}
